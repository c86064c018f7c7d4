//! Login with a device code (RFC 8628): the device's side, and the page on which a person confirms.

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::{self, Answer, Refusal};
use crate::form::{self, Form};
use crate::html::{self, Text};
use crate::provider::Provider;
use crate::scopes::Scopes;
use crate::{Endpoint, Error};

/// A device begins (section 3.1).
pub(crate) fn begin(provider: &Provider, client: &str, form: &Form) -> Result<Value, Refusal> {
    let scopes = Scopes::read(form.get("scope"))?;
    let (now, options) = (provider.now(), &provider.options);
    let (code, user_code) = provider.state().store.add_device(client, scopes, options, now)?;
    let page = provider.url(Endpoint::Device);
    Ok(json!({
        "device_code": code,
        "user_code": user_code,
        "verification_uri": page,
        "verification_uri_complete": format!("{page}?{}", form::write([("user_code", user_code.as_str())])),
        "expires_in": options.lifetimes.device_code.as_secs(),
        "interval": options.poll_interval.as_secs(),
    }))
}

/// The page for the code, and with one the page for who it is. A code that came by a link is shown all the same, to be
/// compared with the device's (section 3.3.1).
pub(crate) fn show(provider: &Provider, form: &Form) -> Answer {
    let Some(typed) = form.get("user_code") else { return ask_for_code("") };
    let now = provider.now();
    let (client, code) = match provider.state().store.device(typed, now) {
        Ok(device) => (device.client.clone(), device.user_code.clone()),
        Err(error) => return ask_for_code(&error.to_string()),
    };
    let body = format!(
        "<p>{client} asks to know who you are. Go on only if it shows the code <strong>{code}</strong>, and if it was \
         you who began there.</p>\n\
         <form method=\"post\" action=\"{path}\">\n<input type=\"hidden\" name=\"user_code\" value=\"{code}\">\n\
         {people}\n</form>",
        client = Text(&client),
        code = Text(&code),
        path = Endpoint::Device.path(),
        people = html::people(&provider.options.people),
    );
    answer::page(StatusCode::OK, "Confirm a login", &body)
}

/// The person has decided.
pub(crate) fn decide(provider: &Provider, form: &Form) -> Answer {
    let Some(code) = form.get("user_code") else { return ask_for_code("") };
    let (done, title) = match (form.get("answer"), form.get("person")) {
        (Some(html::CONFIRM), Some(person)) => (confirm(provider, code, person), "Confirmed"),
        (Some(html::REFUSE), _) => (refuse(provider, code), "Refused"),
        _ => return show(provider, form),
    };
    match done {
        Ok(()) => {
            answer::page(StatusCode::OK, title, "<p>Go back to your device. This page can be closed.</p>")
        }
        Err(error) => ask_for_code(&error.to_string()),
    }
}

pub(crate) fn confirm(provider: &Provider, user_code: &str, person: &str) -> Result<(), Error> {
    let person = provider.options.person(person)?;
    let now = provider.now();
    provider.state().store.device(user_code, now)?.confirm(&person.sub, now);
    Ok(())
}

pub(crate) fn refuse(provider: &Provider, user_code: &str) -> Result<(), Error> {
    let now = provider.now();
    provider.state().store.device(user_code, now)?.refuse();
    Ok(())
}

/// The first page, with what was wrong with the code that was typed into it before.
fn ask_for_code(wrong: &str) -> Answer {
    let status = if wrong.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let body = format!(
        "<p>{}</p>\n<form method=\"get\" action=\"{}\">\n<p><label>The code that your device shows: \
         <input name=\"user_code\" autocomplete=\"off\" autofocus required></label>\n<button>Go on</button></p>\n</form>",
        Text(wrong),
        Endpoint::Device.path(),
    );
    answer::page(status, "Confirm a login", &body)
}
