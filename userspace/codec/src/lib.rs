//! portcullis-codec
