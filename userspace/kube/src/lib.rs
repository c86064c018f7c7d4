//! Kubernetes as the API server reads it: what a request asks for ([`classify`]), which spellings are too doubtful to be
//! read at all ([`ambiguity`]), the [`Status`] objects that answers are made of, the questions that people ask about themselves ([`SelfReview`]), and the exec, attach and port-forward
//! sessions that follow an upgrade ([`stream`]).
//!
//! Nothing here opens a socket or decides anything; it tells the decision what it is about.

mod request;
mod review;
mod status;
pub mod stream;

pub use request::{
    Ambiguity, ClassifyError, RequestInfo, ambiguity, classify, classify_line, query_flag, query_values,
};
pub use review::{
    AccessSpec, AccessStatus, NonResourceAttributes, NonResourceRule, ResourceAttributes, ResourceRule,
    ReviewError, RulesStatus, SelfReview, UserInfo, access_question, is_cluster_scoped, read_access_answer,
    read_access_review, read_rules_review, read_subject_review, review_answer,
};
pub use status::{Cause, Details, Status, watch_error_event, watch_error_frame};
