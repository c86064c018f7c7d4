//! portcullis-intercept
