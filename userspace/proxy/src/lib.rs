//! portcullis-proxy
