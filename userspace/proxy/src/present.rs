//! As whom a request goes to the target: what the client presented stays here, and the gate's own credential for this
//! engineer takes its place.

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{Uri, Version, header};
use portcullis_access::{Allowed, GrantId, PresentAs};
use portcullis_credential::OnBehalf;

use crate::caller::Person;
use crate::refusal::Refusal;
use crate::target::Scheme;
use crate::upstream::Up;
use crate::{accept, headers};

/// Whether the answer to a request is masked, and whether the request can be made once more without doing anything twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Masked {
    No,
    /// As it comes, of whatever type it is: it must not be compressed.
    InPassing,
    Once,
    Repeatable,
}

/// The head as it goes up before `body`, as far as that is known, and what carries both. Of masked objects
/// only such forms are asked for as the masker reads.
pub(crate) async fn dress(
    person: &Person,
    allowed: &Allowed,
    mut head: Parts,
    masked: Masked,
    body: &[u8],
) -> Result<(Parts, Up), Refusal> {
    let connection = &*person.connection;
    let target = &connection.route.target;
    match connection.forwarded {
        None => headers::strip_request(&mut head.headers),
        Some(_) => headers::strip_forwarded(&mut head.headers),
    }
    match masked {
        Masked::No => {}
        Masked::InPassing => accept::refuse_coding(&mut head.headers),
        Masked::Once | Masked::Repeatable => {
            accept::narrow_accept(&mut head.headers, masked == Masked::Repeatable)?;
            accept::narrow_accept_encoding(&mut head.headers);
        }
    }
    if allowed.filter.is_some() {
        accept::accept_json(&mut head.headers, "lists that are filtered")?;
        accept::refuse_coding(&mut head.headers);
    }
    let session = person.line()?.session;
    let session = session.id().as_str();
    let grant = allowed.grant.as_ref().map(GrantId::as_str);
    headers::set_on_behalf(&mut head.headers, &person.subject.name, grant)?;
    if let Some(forwarded) = &connection.forwarded {
        // The server is its client's to present itself to, by the name that the client has for it.
        head.version = Version::HTTP_11;
        return Ok((head, Up::Forwarded(Arc::clone(forwarded))));
    }
    if target.impersonate || allowed.present_as == PresentAs::Impersonate {
        headers::set_impersonation(&mut head.headers, &person.subject, grant, session)?;
    }
    let on_behalf = OnBehalf {
        subject: &person.subject,
        role: allowed.role.as_str(),
        grant,
        expires: allowed.expires,
        session,
        aws_role: match &allowed.present_as {
            PresentAs::AwsRole(arn) => Some(arn),
            _ => None,
        },
        service_account: match &allowed.present_as {
            PresentAs::ServiceAccount { namespace, name } => Some((namespace, name)),
            _ => None,
        },
    };
    let presenting = target
        .upstream
        .credential(&on_behalf, &connection.route.server_name, connection.worker)
        .await
        .map_err(|source| Refusal::Credential { target: target.name.clone(), source: Box::new(source) })?;
    if head.version != Version::HTTP_2 || target.mcp.is_some() {
        head.version = Version::HTTP_11;
    }
    // The authority is where the client dialled; its own word for it could only disagree. Web servers are told apart by
    // their names, and this one was checked.
    let address = connection.attestation.original_dst.0;
    head.uri = upstream_uri(&head.uri, target.scheme, address)?;
    if target.mcp.is_none() {
        head.headers.remove(header::HOST);
    }
    let host = head
        .headers
        .get(header::HOST)
        .map_or_else(|| address.to_string(), |host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    // Last: a signature is over all that goes up.
    presenting
        .credential
        .sign(&head.method, &path, &host, &mut head.headers, body)
        .map_err(|source| Refusal::Credential { target: target.name.clone(), source: Box::new(source) })?;
    Ok((head, Up::Pooled(person.pools(&presenting))))
}

/// The same path at the address that the client dialled.
fn upstream_uri(uri: &Uri, scheme: Scheme, address: SocketAddr) -> Result<Uri, Refusal> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Uri::builder()
        .scheme(match scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
        })
        .authority(address.to_string())
        .path_and_query(target)
        .build()
        .map_err(|error| Refusal::BodyUnreadable(error.to_string()))
}
