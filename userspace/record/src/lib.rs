//! portcullis-record
