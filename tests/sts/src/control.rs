//! `/control/…`: what a test in another process asks and tells. The library's methods do the same.
//!
//! `GET journal`; `POST authenticate {"token","cluster"}`; `POST shift {"seconds"}`; `POST fault {"fault","calls"}`,
//! where no `calls` means until further notice and `null` ends it.

use http::{Response, StatusCode};
use jiff::SignedDuration;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::answer::{Body, respond};
use crate::service::Service;
use crate::{Fault, eks};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authenticate {
    token: String,
    cluster: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shift {
    seconds: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Faulty {
    fault: Option<Fault>,
    calls: Option<u32>,
}

pub(crate) fn handle(service: &Service, method: &str, what: &str, body: &[u8]) -> Response<Body> {
    match answer(service, method, what, body) {
        Ok(value) => respond(StatusCode::OK, "application/json", value.to_string()),
        Err((status, why)) => respond(status, "application/json", json!({ "error": why }).to_string()),
    }
}

fn answer(service: &Service, method: &str, what: &str, body: &[u8]) -> Result<Value, (StatusCode, String)> {
    match (method, what) {
        ("GET", "journal") => Ok(json!(service.journal())),
        ("POST", "authenticate") => {
            let Authenticate { token, cluster } = read(body)?;
            let identity = eks::authenticate(service, &token, &cluster)
                .map_err(|refused| (StatusCode::UNAUTHORIZED, refused.to_string()))?;
            Ok(json!(identity))
        }
        ("POST", "shift") => {
            service.shift(SignedDuration::from_secs(read::<Shift>(body)?.seconds));
            Ok(json!({"now": service.now()}))
        }
        ("POST", "fault") => {
            let Faulty { fault, calls } = read(body)?;
            service.set_fault(fault.map(|fault| (fault, calls)));
            Ok(json!({}))
        }
        _ => Err((StatusCode::NOT_FOUND, format!("no {method} /control/{what}"))),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}
