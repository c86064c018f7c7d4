//! Login in a browser: the authorization code flow (OpenID Connect Core, section 3.1) with PKCE (RFC 7636), for native
//! applications that are come back to on loopback (RFC 8252).

use http::{StatusCode, Uri};

use crate::answer::{self, Answer, Refusal};
use crate::form::{self, Form};
use crate::html::{self, Text};
use crate::provider::{Provider, refused};
use crate::scopes::Scopes;
use crate::store::{Code, Login, Use, later};
use crate::{Endpoint, Error, secret};

/// A request that can be granted.
struct Asked {
    client: String,
    back: Back,
    scopes: Scopes,
    nonce: Option<String>,
    challenge: String,
}

/// How the browser goes back to the client.
struct Back {
    redirect_uri: String,
    state: Option<String>,
}

/// A request that cannot be granted.
enum Bad {
    /// It is not known whose it is, so that the browser goes nowhere.
    Page(Refusal),
    /// The client is told.
    Redirect(Back, Refusal),
}

/// The login page, or what is wrong with the request.
pub(crate) fn begin(provider: &Provider, request: &str) -> Answer {
    let asked = match read(provider, request) {
        Ok(asked) => asked,
        Err(bad) => return bad.answer(provider),
    };
    // The request travels through the page and is read again when it comes back: nothing is kept of it here.
    let body = format!(
        "<p>{} asks to know who you are ({}).</p>\n<form method=\"post\" action=\"{}\">\n\
         <input type=\"hidden\" name=\"request\" value=\"{}\">\n{}\n</form>",
        Text(&asked.client),
        Text(&asked.scopes.written()),
        Endpoint::Login.path(),
        Text(request),
        html::people(&provider.options.people),
    );
    answer::page(StatusCode::OK, "Log in", &body)
}

/// The person has decided.
pub(crate) fn decide(provider: &Provider, form: &Form) -> Answer {
    let Some(request) = form.get("request") else {
        return refused(&Refusal::new("invalid_request", "request is missing"));
    };
    let asked = match read(provider, request) {
        Ok(asked) => asked,
        Err(bad) => return bad.answer(provider),
    };
    match (form.get("answer"), form.get("person")) {
        (Some(html::CONFIRM), Some(person)) => match grant(provider, asked, person) {
            Ok(location) => answer::redirect(&location),
            Err(error) => refused(&error.into()),
        },
        (Some(html::REFUSE), _) => answer::redirect(&asked.back.with_refusal(provider, &declined())),
        _ => begin(provider, request),
    }
}

/// What a person does in the browser: opens `url` and agrees as `person`, or declines. Where the browser is sent.
pub(crate) fn visit(provider: &Provider, url: &str, person: Option<&str>) -> Result<String, Error> {
    let page = provider.url(Endpoint::Authorize);
    let query = url.strip_prefix(&page).and_then(|rest| rest.strip_prefix('?'));
    let query = query.ok_or_else(|| Error::Refused(format!("{url:?} is not {page} with a query")))?;
    let asked = read(provider, query).map_err(|bad| match bad {
        Bad::Page(refusal) | Bad::Redirect(_, refusal) => Error::Refused(refusal.to_string()),
    })?;
    match person {
        Some(person) => grant(provider, asked, person),
        None => Ok(asked.back.with_refusal(provider, &declined())),
    }
}

fn grant(provider: &Provider, asked: Asked, person: &str) -> Result<String, Error> {
    let person = provider.options.person(person)?;
    let now = provider.now();
    let Asked { client, back, scopes, nonce, challenge } = asked;
    let code = Code {
        login: Login { client, person: person.sub.clone(), scopes, at: now, nonce },
        redirect_uri: back.redirect_uri.clone(),
        challenge,
        expires: later(now, provider.options.lifetimes.code),
        used: Use::None,
    };
    let code = provider.state().store.add_code(code, now)?;
    Ok(back.with(provider, &[("code", &code)]))
}

fn read(provider: &Provider, request: &str) -> Result<Asked, Bad> {
    let form = Form::read(request).map_err(|error| Bad::Page(error.into()))?;
    let client = provider.client(&form).map_err(Bad::Page)?;
    let redirect_uri = form.get("redirect_uri").unwrap_or_default();
    if !is_loopback(redirect_uri) {
        let why = format!(
            "redirect_uri {redirect_uri:?} is not http://127.0.0.1:<port>/… or http://[::1]:<port>/… without a fragment"
        );
        return Err(Bad::Page(Refusal::new("invalid_request", why)));
    }
    let state = form.get("state").map(str::to_owned);
    let back = Back { redirect_uri: redirect_uri.to_owned(), state };
    match read_rest(&form) {
        Ok((scopes, challenge)) => {
            let nonce = form.get("nonce").map(str::to_owned);
            Ok(Asked { client: client.to_owned(), back, scopes, nonce, challenge })
        }
        Err(refusal) => Err(Bad::Redirect(back, refusal)),
    }
}

fn read_rest(form: &Form) -> Result<(Scopes, String), Refusal> {
    let must = |name: &str, value: &str, code| {
        if form.get(name) == Some(value) {
            Ok(())
        } else {
            Err(Refusal::new(code, format!("{name} must be {value}")))
        }
    };
    if form.get("request").is_some() {
        return Err(Refusal::new("request_not_supported", "send the parameters themselves"));
    }
    if form.get("request_uri").is_some() {
        return Err(Refusal::new("request_uri_not_supported", "send the parameters themselves"));
    }
    must("response_type", "code", "unsupported_response_type")?;
    if form.get("response_mode").is_some() {
        must("response_mode", "query", "invalid_request")?;
    }
    must("code_challenge_method", "S256", "invalid_request")?;
    let challenge = form.get("code_challenge").filter(|challenge| {
        challenge.len() == 43
            && challenge.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    });
    let challenge = challenge.ok_or_else(|| {
        Refusal::new("invalid_request", "code_challenge must be the base64url of a SHA-256, without padding")
    })?;
    let scopes = Scopes::read(form.get("scope"))?;
    if form.get("prompt").is_some_and(|prompt| prompt.split(' ').any(|word| word == "none")) {
        return Err(Refusal::new("login_required", "nobody stays logged in here: each login asks"));
    }
    Ok((scopes, challenge.to_owned()))
}

/// Of a client on loopback any port will do, and any path (RFC 8252, section 7.3). Not `localhost`, which can be made to
/// mean something else (section 8.3).
fn is_loopback(uri: &str) -> bool {
    let Ok(read) = uri.parse::<Uri>() else { return false };
    let authority = read.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let host = read.host().unwrap_or_default();
    uri.starts_with("http://")
        && !uri.contains('#')
        && ["127.0.0.1", "[::1]"].contains(&host)
        // No user, and no port that is none.
        && (authority == host || read.port_u16().is_some_and(|port| authority == format!("{host}:{port}")))
}

fn declined() -> Refusal {
    Refusal::new("access_denied", "the person refused")
}

impl Bad {
    fn answer(&self, provider: &Provider) -> Answer {
        match self {
            Self::Page(refusal) => refused(refusal),
            Self::Redirect(back, refusal) => answer::redirect(&back.with_refusal(provider, refusal)),
        }
    }
}

impl Back {
    fn with_refusal(&self, provider: &Provider, refusal: &Refusal) -> String {
        self.with(provider, &[("error", refusal.code), ("error_description", &refusal.description)])
    }

    /// The redirect URI with these, with the client's own `state`, and with who it is that answers (RFC 9207).
    fn with(&self, provider: &Provider, fields: &[(&str, &str)]) -> String {
        let Self { redirect_uri, state } = self;
        let state = state.as_deref().map(|state| ("state", state));
        let fields = fields.iter().copied().chain(state).chain([("iss", provider.issuer.as_str())]);
        let and = if redirect_uri.contains('?') { '&' } else { '?' };
        format!("{redirect_uri}{and}{}", form::write(fields))
    }
}

/// What PKCE asks of a verifier (RFC 7636, section 4.1), and that it is the one of the challenge.
pub(crate) fn check_verifier(verifier: Option<&str>, challenge: &str) -> Result<(), Refusal> {
    let invalid = |why| Err(Refusal::new("invalid_grant", why));
    let Some(verifier) = verifier else { return invalid("code_verifier is missing") };
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return invalid("code_verifier must be 43 to 128 unreserved characters");
    }
    if secret::challenge(verifier) == challenge {
        Ok(())
    } else {
        invalid("code_verifier is not the one of the code_challenge")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_come_back_to_loopback_alone() {
        for good in [
            "http://127.0.0.1/callback",
            "http://127.0.0.1:1/",
            "http://127.0.0.1:65535/callback?a=b",
            "http://[::1]:8000/callback",
        ] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in [
            "",
            "/callback",
            "127.0.0.1:80",
            "https://127.0.0.1/callback",
            "HTTP://127.0.0.1/",
            "http://localhost:80/callback",
            "http://127.0.0.2/",
            "http://127.0.0.1.example.test/",
            "http://127.0.0.1@example.test/",
            "http://user@127.0.0.1/",
            "http://127.0.0.1:80@example.test/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:/",
            "http://127.0.0.1/#fragment",
            "http://example.test/127.0.0.1",
            "http://127.0.0.1\\@example.test/",
            "http://127.0.0.1/\r\nSet-Cookie: a",
            "javascript://127.0.0.1/%0aalert(1)",
        ] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }

    #[test]
    fn a_verifier_is_of_the_length_that_the_rfc_says() {
        for length in [42, 43, 128, 129] {
            let verifier = "a".repeat(length);
            let good = check_verifier(Some(&verifier), &secret::challenge(&verifier)).is_ok();
            assert_eq!(good, (43..=128).contains(&length), "{length}");
        }
        let odd = format!("{}+", "a".repeat(50));
        assert!(check_verifier(Some(&odd), &secret::challenge(&odd)).is_err());
        assert!(check_verifier(None, "a").is_err());
    }
}
