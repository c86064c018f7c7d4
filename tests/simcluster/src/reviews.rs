//! Objects that are questions: who am I, may I, what is this token; and tokens of service accounts.

use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::accounts::{AUDIENCE, Wanted};
use crate::auth::User;
use crate::body::{Decoder, Validation};
use crate::cluster::{Call, Cluster};
use crate::kinds::Resource;
use crate::object;
use crate::respond::{Body, Client};
use crate::schema::schema;
use crate::status::Status;

/// The API server refuses to issue tokens for less.
const SHORTEST: SignedDuration = SignedDuration::from_mins(10);

/// Answers a review.
///
/// # Errors
/// 400 and 415 for a body that is no review.
pub(crate) async fn serve(
    cluster: &Cluster,
    call: &Call,
    resource: &'static Resource,
) -> Result<Response<Body>, Status> {
    let client = Client::new(&call.headers, &call.query)?;
    let mut decoder = Decoder::new(resource, Validation::Warn);
    let mut review = decoder.decode(&call.headers, &call.body)?;
    object::meta_mut(&mut review);
    let spec = &review["spec"];
    review["status"] = match resource.plural {
        "selfsubjectreviews" => {
            object::meta_mut(&mut review).insert("creationTimestamp".to_owned(), json!(object::now()));
            json!({"userInfo": call.user.to_value()})
        }
        "tokenreviews" => match cluster.authenticator.token(spec["token"].as_str().unwrap_or_default()).await
        {
            Some(user) => {
                json!({"authenticated": true, "user": user.to_value(), "audiences": [AUDIENCE]})
            }
            None => json!({"error": "[invalid bearer token, unknown]"}),
        },
        "selfsubjectrulesreviews" => call.user.rules_status(),
        "selfsubjectaccessreviews" => access(&call.user, spec),
        _ => access(&subject(spec), spec),
    };
    Ok(client.object(StatusCode::CREATED, resource, &review))
}

/// Answers a token request for a service account.
///
/// # Errors
/// 400, 404, 415, 422.
pub(crate) fn token(
    cluster: &Cluster,
    call: &Call,
    resource: &'static Resource,
) -> Result<Response<Body>, Status> {
    let client = Client::new(&call.headers, &call.query)?;
    let (namespace, name) = (&call.info.namespace, &call.info.name);
    let account = cluster.store.read(resource, namespace, name)?;
    let object_type = schema().get("authentication.v1.TokenRequest");
    let api_version = "authentication.k8s.io/v1";
    let mut decoder = Decoder::of_kind("TokenRequest", api_version.to_owned(), object_type, Validation::Warn);
    let mut request = decoder.decode(&call.headers, &call.body)?;
    let lifetime = SignedDuration::from_secs(request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600));
    if lifetime < SHORTEST {
        let why =
            format!("Invalid value: {}: may not specify a duration less than 10 minutes", lifetime.as_secs());
        let cause = ("FieldValueInvalid", "spec.expirationSeconds".to_owned(), why);
        return Err(Status::invalid_of("authentication.k8s.io", "TokenRequest", name, &[cause]));
    }
    let named: Vec<String> = request["spec"]["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let audiences = if named.is_empty() { vec![AUDIENCE.to_owned()] } else { named };
    let uid = object::meta(&account, "uid");
    let wanted = Wanted { namespace, name, uid, audiences: &audiences, lifetime };
    let (token, expires) = cluster.authenticator.accounts.issue(&wanted, Timestamp::now());
    request["metadata"] = json!({"name": name, "namespace": namespace, "uid": uid,
        "creationTimestamp": object::now()});
    request["spec"]["audiences"] = json!(audiences);
    request["spec"]["expirationSeconds"] = json!(lifetime.as_secs());
    request["status"] = json!({"token": token, "expirationTimestamp": object::timestamp(expires)});
    let typed = object::typed_as("TokenRequest", api_version, &request);
    Ok(client.foreign(StatusCode::CREATED, &typed, "authentication.v1.TokenRequest"))
}

fn subject(spec: &Value) -> User {
    let groups = spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    User::new(spec["user"].as_str().unwrap_or_default(), groups)
}

fn access(user: &User, spec: &Value) -> Value {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let path = &spec["nonResourceAttributes"];
    let asked = &spec["resourceAttributes"];
    let allowed = if path.is_null() {
        let (resource, sub) = (text(asked, "resource"), text(asked, "subresource"));
        let resource = if sub.is_empty() { resource } else { format!("{resource}/{sub}") };
        user.may(&text(asked, "verb"), &text(asked, "group"), &resource)
    } else {
        user.may_path(&text(path, "verb"), &text(path, "path"))
    };
    json!({ "allowed": allowed })
}
