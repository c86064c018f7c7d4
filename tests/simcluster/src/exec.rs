//! Placeholder until the stream protocols land.
use std::sync::Arc;

use http::Response;

use crate::cluster::{Call, Cluster};
use crate::respond::Body;
use crate::status::Status;

/// Refuses for now.
pub(crate) fn serve(_: &Arc<Cluster>, _: Call) -> Result<Response<Body>, Status> {
    Err(Status::bad_request("Upgrade request required"))
}
