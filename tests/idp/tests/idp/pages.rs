//! The pages, as a browser has them.

use idp::Person;

use crate::rig::{Answer, BACK, Rig, parameter, text};

fn page(answer: &Answer, status: u16) -> &str {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert!(answer.header("content-security-policy").contains("default-src 'none'"));
    assert!(answer.body.contains("anybody can log in as anybody"), "{}", answer.body);
    assert!(!answer.body.contains("<script"), "{}", answer.body);
    &answer.body
}

/// The value of a hidden input, as a browser would send it.
fn hidden(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
    let (value, _) = rest.split_once('"').unwrap();
    value
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

#[test]
fn somebody_types_the_code_says_who_they_are_and_confirms() {
    let rig = Rig::start();
    let begun = rig.begin_device();
    let user_code = text(&begun["user_code"]);
    assert!(page(&rig.get("/device"), 200).contains("name=\"user_code\""));
    assert!(page(&rig.get("/device?user_code=WRONG"), 400).contains("no device shows the code"));
    let linked = rig.web().get(text(&begun["verification_uri_complete"]));
    let shown = page(&linked, 200);
    assert!(shown.contains("portcullis asks") && shown.contains("alice@example.test"), "{shown}");
    // Looking at it changes nothing, and neither does a form that is not filled in.
    let code = hidden(shown, "user_code");
    assert_eq!(code, user_code);
    page(&rig.post("/device", &[("user_code", &code), ("answer", "confirm")]), 200);
    assert_eq!(rig.poll(text(&begun["device_code"])).refused(), "authorization_pending");
    let form = [("user_code", code.as_str()), ("person", "mallory"), ("answer", "confirm")];
    assert!(page(&rig.post("/device", &form), 400).contains("there is no person"));
    let form = [("user_code", code.as_str()), ("person", "alice"), ("answer", "confirm")];
    assert!(page(&rig.post("/device", &form), 200).contains("Confirmed"));
    assert!(page(&rig.post("/device", &form), 400).contains("used already"));
    rig.poll(text(&begun["device_code"])).json(200);
}

#[test]
fn somebody_refuses_a_device() {
    let rig = Rig::start();
    let begun = rig.begin_device();
    let form = [("user_code", text(&begun["user_code"])), ("answer", "refuse")];
    assert!(page(&rig.post("/device", &form), 200).contains("Refused"));
    assert_eq!(rig.poll(text(&begun["device_code"])).refused(), "access_denied");
}

#[test]
fn somebody_logs_in_in_a_browser() {
    let rig = Rig::start();
    let login = rig.web().get(&rig.authorization(&[]));
    let request = hidden(page(&login, 200), "request");
    let form = [("request", request.as_str()), ("person", "alice"), ("answer", "confirm")];
    let sent = rig.post("/login", &form);
    assert_eq!(sent.status, 303);
    let back = sent.header("location").to_owned();
    assert!(back.starts_with(BACK), "{back}");
    rig.redeem(&parameter(&back, "code").unwrap(), &[]).json(200);

    let sent = rig.post("/login", &[("request", &request), ("answer", "refuse")]);
    assert_eq!(parameter(sent.header("location"), "error").as_deref(), Some("access_denied"));
    // Not filled in: the page again. With another's address in it: nowhere.
    page(&rig.post("/login", &[("request", &request), ("answer", "confirm")]), 200);
    let forged = request.replace("127.0.0.1", "192.0.2.1");
    let form = [("request", forged.as_str()), ("person", "alice"), ("answer", "confirm")];
    page(&rig.post("/login", &form), 400);
    page(&rig.post("/login", &[("person", "alice")]), 400);
    // The same request by POST (OpenID Connect Core, section 3.1.2.1).
    let fields: Vec<(String, String)> =
        reqwest::Url::parse(&rig.authorization(&[])).unwrap().query_pairs().into_owned().collect();
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert!(page(&rig.post("/authorize", &fields), 200).contains("name=\"request\""));
}

#[test]
fn whatever_comes_from_elsewhere_is_text() {
    const EVIL: &str = "\"><script>alert('1')</script>&";
    let rig = Rig::with(|options| {
        options.people.push(Person {
            name: EVIL.to_owned(),
            email: EVIL.to_owned(),
            preferred_username: EVIL.to_owned(),
            ..Person::example("eve", &[])
        });
        options.clients.push(EVIL.to_owned());
    });
    let begun = rig.post("/device_authorization", &[("client_id", EVIL), ("scope", "openid")]).json(200);
    let user_code = text(&begun["user_code"]);
    let (state, nonce) = (("state", EVIL), ("nonce", EVIL));
    let request = rig.authorization(&[("client_id", EVIL), state, nonce]);
    let query = |text: &str| {
        let url = reqwest::Url::parse_with_params(&rig.url("/device"), [("user_code", text)]);
        rig.web().get(url.unwrap().as_str())
    };
    let escaped = "&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;";
    for answer in [query(user_code), rig.web().get(&request)] {
        assert!(page(&answer, 200).contains(escaped), "{}", answer.body);
    }
    let refusals = [
        query(EVIL),
        rig.web().get(&rig.authorization(&[("client_id", "<script>")])),
        rig.web().get(&rig.authorization(&[("redirect_uri", "<script>")])),
        rig.post("/device", &[("user_code", user_code), ("person", "<script>"), ("answer", "confirm")]),
        rig.post("/device", &[("user_code", "<script>"), ("answer", "refuse")]),
        rig.post("/login", &[("request", "client_id=<script>")]),
    ];
    for answer in &refusals {
        assert!(page(answer, 400).contains("&lt;script&gt;"), "{}", answer.body);
    }
    // What travels through the page arrives as it was.
    let sent = hidden(&rig.web().get(&request).body, "request");
    let form = [("request", sent.as_str()), ("person", EVIL), ("answer", "confirm")];
    let back = rig.post("/login", &form);
    assert_eq!(parameter(back.header("location"), "state").as_deref(), Some(EVIL));
}

#[test]
fn no_header_can_be_written_through_a_redirect() {
    let rig = Rig::start();
    let sent = rig.web().get(&rig.authorization(&[("state", "a\r\nSet-Cookie: b=c"), ("scope", "email")]));
    assert_eq!((sent.status, sent.header("set-cookie")), (303, ""));
    assert_eq!(parameter(sent.header("location"), "state").as_deref(), Some("a\r\nSet-Cookie: b=c"));
    let sent = rig.web().get(&rig.authorization(&[("redirect_uri", "http://127.0.0.1/\r\nSet-Cookie: b=c")]));
    assert_eq!((sent.status, sent.header("set-cookie")), (400, ""));
}
