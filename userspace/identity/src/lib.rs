//! portcullis-identity
