//! One TokenRequest: a connection to the target, its server verified against the target's own CA, and a POST.
//!
//! A connection for each, because there is one every eight minutes. It is the gate's own: the daemon's cgroup is
//! exempt in the kernel.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use zeroize::Zeroizing;

use crate::{
    BearerToken, Credential, CredentialError, ServiceAccount, TokenRequestConfig, UpstreamTls, Why,
    error::{causes, quote},
};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const LARGEST_ANSWER: usize = 256 << 10;

/// Where a target is, for a source that asks the target itself for a credential.
#[derive(Clone)]
pub struct TargetPlace {
    /// Hosts and ports of its endpoints, tried in this order.
    pub endpoints: Vec<(String, u16)>,
    /// The name in its certificate, where that is not the endpoint's host.
    pub server_name: Option<String>,
    /// How its server is verified.
    pub tls: UpstreamTls,
}

impl TargetPlace {
    /// Whether there is anybody to ask.
    pub(crate) fn check(&self) -> Result<(), CredentialError> {
        if self.endpoints.is_empty() {
            return Err(CredentialError::config("tokenRequest", "the target has no endpoint to ask"));
        }
        Ok(())
    }
}

/// A token, and when it ends.
pub(crate) struct Given {
    pub(crate) token: BearerToken,
    pub(crate) expires: Timestamp,
}

#[derive(Deserialize)]
struct TokenRequest {
    kind: String,
    status: TokenStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenStatus {
    token: String,
    expiration_timestamp: Timestamp,
}

/// `metav1.Status`, as far as it is wanted.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    reason: String,
    message: String,
}

/// Asks the target for a token of `account`, by `using`.
pub(crate) async fn ask(
    place: &TargetPlace,
    using: &Credential,
    config: &TokenRequestConfig,
    account: &ServiceAccount,
) -> Result<Given, Why> {
    let (stream, host) = connect(place, using).await?;
    let request = request(using, config, account, &host)?;
    let unreachable = |error: hyper::Error| Why::Unreachable(format!("{host}: {}", causes(&error)));
    let exchange = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        // It ends with the sender; its errors are the sender's.
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(unreachable)?;
        read(response, &host).await
    };
    let late = |_| Why::Unreachable(format!("{host} did not answer within {ANSWER_LIMIT:?}"));
    timeout(ANSWER_LIMIT, exchange).await.map_err(late)?
}

/// The first endpoint that takes the connection.
async fn connect(place: &TargetPlace, using: &Credential) -> Result<(TlsStream<TcpStream>, String), Why> {
    let config = place.tls.client_config(using, &[b"http/1.1".to_vec()]);
    let connector = TlsConnector::from(config.map_err(|error| Why::Unusable(causes(&error)))?);
    let mut failed = "the target has no endpoint".to_owned();
    for (host, port) in &place.endpoints {
        let name = place.server_name.as_ref().unwrap_or(host);
        let name =
            ServerName::try_from(name.clone()).map_err(|error| Why::Unusable(format!("{name}: {error}")))?;
        let connecting = async {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            connector.connect(name, stream).await
        };
        let late =
            |_| io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {CONNECT_LIMIT:?}"));
        let authority =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        match timeout(CONNECT_LIMIT, connecting).await.map_err(late).flatten() {
            Ok(stream) => return Ok((stream, authority)),
            Err(error) => failed = format!("{authority}: {}", causes(&error)),
        }
    }
    Err(Why::Unreachable(failed))
}

fn request(
    using: &Credential,
    config: &TokenRequestConfig,
    account: &ServiceAccount,
    host: &str,
) -> Result<Request<Full<Bytes>>, Why> {
    let mut spec = json!({"expirationSeconds": config.lifetime.as_secs()});
    if !config.audiences.is_empty() {
        spec["audiences"] = json!(config.audiences);
    }
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let ServiceAccount { namespace, name } = account;
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
    let unusable = |error: http::Error| Why::Unusable(causes(&error));
    let path: Uri = path.parse().map_err(|error: http::uri::InvalidUri| unusable(error.into()))?;
    let mut request = Request::post(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "portcullis");
    if let Some(authorization) = using.authorization() {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    request.body(Full::from(body.to_string())).map_err(unusable)
}

async fn read(response: Response<Incoming>, host: &str) -> Result<Given, Why> {
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
    let body = body.map_err(|error| Why::Unreachable(format!("{host}: {}", causes(&*error))))?.to_bytes();
    if status != StatusCode::CREATED && status != StatusCode::OK {
        // A Status of the API server says why; what else answers is named by its code alone.
        let said: Status = serde_json::from_slice(&body).unwrap_or_default();
        let code =
            if said.reason.is_empty() { format!("HTTP {}", status.as_u16()) } else { quote(&said.reason) };
        let message =
            if said.message.is_empty() { "no reason given".to_owned() } else { quote(&said.message) };
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Why::Unreachable(format!("{host}: {code}: {message}")));
        }
        return Err(Why::Refused { code, message });
    }
    // Errors of the parser can quote what they read, which is a token here.
    let unusable =
        |_| Why::Unusable(format!("{host} answered HTTP {} with what is no TokenRequest", status.as_u16()));
    let TokenRequest { kind, status: given } = serde_json::from_slice(&body).map_err(unusable)?;
    let token = Zeroizing::new(given.token);
    if kind != "TokenRequest" {
        return Err(Why::Unusable(format!("{host} answered with a {}", quote(&kind))));
    }
    let token = BearerToken::new(token.as_bytes());
    let token = token.ok_or_else(|| Why::Unusable(format!("{host} gave what is no token")))?;
    Ok(Given { token, expires: given.expiration_timestamp })
}
