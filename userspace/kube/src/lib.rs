//! portcullis-kube
