//! portcullis-mask
