//! portcullis-access
