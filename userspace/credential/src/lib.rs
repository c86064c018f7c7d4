//! portcullis-credential
