use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::testing::*;
use crate::{Caller, Facts, RoleName};

fn facts() -> Facts {
    Facts {
        process: Some(Arc::new(Caller {
            uid: 1001,
            gid: 1001,
            exe: "/usr/bin/kubectl".into(),
            argv: ["kubectl", "exec", "web", "--", "rm", "-rf", "/data"].map(String::from).into(),
            tty: Some("/dev/pts/3".into()),
            loginuid: None,
        })),
        dry_run: true,
        field_manager: "kubectl-edit".into(),
        command: ["rm", "-rf", "/data"].map(String::from).into(),
        container: "app".into(),
        tty: true,
        stdin: false,
        arguments: None,
    }
}

fn test_with(source: &str, operation: &str, facts: &Facts) -> Result<bool, String> {
    let condition =
        Condition::compile(source, About::Request).unwrap_or_else(|error| panic!("{source}: {error}"));
    let (alice, operation) = (person("alice", &["dev", "team-web"]), op(operation));
    let query = Query { subject: &alice, target: "demo", operation: &operation, facts };
    // A Sunday, noon in UTC.
    Case::new(&query, start()).test(&condition)
}

fn test(source: &str) -> Result<bool, String> {
    test_with(source, "get pods/exec web -n team-web", &facts())
}

fn refusal(source: &str) -> String {
    match Condition::compile(source, About::Request) {
        Ok(_) => panic!("accepted: {source}"),
        Err(error) => error,
    }
}

#[test]
fn conditions_see_all_that_is_known_of_a_request() {
    for source in [
        "subject.issuer == 'unix' && subject.id == 'uid-alice' && subject.name == 'alice'",
        "'dev' in subject.groups && size(subject.groups) == 2 && subject.method == 'unix'",
        // exec is `create`, however it arrives.
        "request.verb == 'create' && request.resource == 'pods' && request.subresource == 'exec'",
        "request.apiGroup == '' && request.apiVersion == 'v1' && request.path == '' && request.method == ''",
        "request.namespace == 'team-web' && request.name == 'web' && request.target == 'demo'",
        "request.dryRun && request.tty && !request.stdin && request.container == 'app'",
        "request.fieldManager == 'kubectl-edit'",
        "request.command[0] == 'rm' && request.command == ['rm', '-rf', '/data']",
        "process.uid == 1001 && process.gid > 1000 && process.exe.endsWith('/kubectl')",
        "process.argv.size() == 7 && process.tty.startsWith('/dev/pts/')",
        "has(process.tty) && !has(process.loginuid) && has(request.name)",
        "time.now == timestamp('2026-03-01T12:00:00Z') && time.hour == 12 && time.minute == 0",
        "time.weekday == 0 && time.now.getDayOfWeek() == time.weekday",
        "time.now.getHours('Europe/Berlin') == 13 && time.now.getHours('-05:30') == 6",
        "time.now + duration('12h') == timestamp('2026-03-02T00:00:00Z')",
        "time.now - timestamp('2026-03-01T00:00:00Z') >= duration('12h')",
        // What is built from two facts.
        "request.namespace == 'team-' + 'web' && ('team-' + request.name) in subject.groups",
        "subject.groups.exists(g, g.startsWith('team-') && request.namespace == g)",
        "['rm', 'dd'].exists(bad, bad in request.command)",
        "request.command.all(word, !word.contains('\\n')) && request.command.exists_one(w, w == 'rm')",
        "request.command[0].matches('^(rm|dd|mkfs.*)$') && !request.name.matches('^db-[0-9]+$')",
        "request.name == 'web' ? time.hour > 6 : false",
        "int('42') == 42 && string(process.uid) == '1001' && -1 < 0 && 7 % 3 == 1",
    ] {
        assert_eq!(test(source), Ok(true), "{source}");
    }
    assert_eq!(
        test_with("request.path == '/metrics' && request.verb == 'get'", "get /metrics", &facts()),
        Ok(true)
    );
    let tool = "request.method == 'tools/call' && request.item == 'tool' && request.name.startsWith('read_')";
    assert_eq!(test_with(tool, "mcp tools/call read_file", &facts()), Ok(true));
}

#[test]
fn what_is_not_known_is_an_error_and_never_true() {
    let nothing = |source| test_with(source, "list pods", Facts::NONE);
    for source in
        ["process.uid == 0", "process.uid != 0", "process.argv.all(a, a != 'x')", "process.exe == ''"]
    {
        let error = nothing(source).unwrap_err();
        assert!(error.starts_with("process.") && error.contains("is not known of this request"), "{error}");
    }
    assert_eq!(nothing("has(process.uid)"), Ok(false));
    assert_eq!(nothing("!has(process.uid) || process.uid == 0"), Ok(true));
    // As in CEL, what decides an `&&` or `||` alone decides it in spite of an error beside it.
    assert_eq!(nothing("process.uid == 0 || request.verb == 'list'"), Ok(true));
    assert_eq!(nothing("process.uid == 0 && request.verb == 'get'"), Ok(false));
    for (source, said) in [
        ("1 / (time.minute - time.minute) == 1", "Division by zero"),
        ("request.command[7] == 'x'", "out of bounds"),
        ("int(subject.name) > 0", "int"),
        ("9223372036854775807 + time.hour > 0", "verflow"),
    ] {
        let outcome = test(source);
        assert!(outcome.clone().is_err_and(|error| error.contains(said)), "{source}: {outcome:?}");
    }
    // Years beyond what a time can be.
    let far = " + duration('2500000h')".repeat(40);
    assert!(test(&format!("time.now{far} > time.now")).unwrap_err().contains("verflow"));
}

#[test]
fn lists_that_are_too_long_are_errors_not_work() {
    let long = |n: usize| Facts { command: vec!["x".into(); n], ..Facts::default() };
    let all = "request.command.all(c, c == 'x')";
    assert_eq!(test_with(all, "list pods", &long(1024)), Ok(true));
    let error = test_with(all, "list pods", &long(1025)).unwrap_err();
    assert!(error.contains("more than 1024 items"), "{error}");
}

#[test]
fn mistakes_are_found_when_a_role_is_loaded_not_when_it_decides() {
    for (source, said) in [
        ("", "1:1: "),
        ("request.verb ==", "1:16: "),
        ("true &&\n  subject.nmae == 'a'", "2:10: subject has no field \"nmae\""),
        ("user.name == 'a'", "1:1: there is no \"user\"; known are subject, request, process, time"),
        ("name", "there is no \"name\""),
        ("process.pid == 1", "process has no field \"pid\""),
        ("process.comm == 'kubectl'", "process has no field \"comm\""),
        ("subject == 'alice'", "1:1: name one field of subject, such as subject.groups"),
        ("subject.groups == 'dev'", "`==` is not known for a list and a text"),
        ("request.verb == 1", "`==` is not known for a text and a number"),
        ("1 in subject.groups", "`in` is not known for a number and a list"),
        ("subject.name.name == 'x'", "there is no field \"name\" here"),
        ("subject.name", "a condition gives a boolean, and this gives a text"),
        ("request.verb && true", "`&&` is not known for a text and a boolean"),
        ("lookup(subject.name)", "`lookup` is not known for a text"),
        ("subject.name.reverse() == 'x'", "`reverse` is not known for a text"),
        ("request.name.matches(request.namespace)", "matches takes a pattern written out here"),
        ("request.name.matches('(')", "unclosed group"),
        ("request.name.matches('(a{1000}){1000}')", "size limit"),
        ("time.now.getHours('Mars/Olympus') > 1", "unknown time zone"),
        ("time.now.getHours(subject.name) > 1", "getHours takes a text written out here"),
        ("time.now > timestamp('yesterday')", "1:21: "),
        ("time.now > timestamp(subject.name)", "timestamp takes a text written out here"),
        ("duration('1 fortnight') > duration('1s')", "1:9: "),
        ("{'a': 1} == {'a': 1}", "maps and messages are not known here"),
        ("1.5 > 1.0", "only texts, whole numbers, true and false"),
        ("[1, 'a'].exists(x, true)", "a list of a number cannot hold a text"),
        ("subject.groups == []", "an empty list holds nothing"),
        ("subject.groups.map(g, g + g).size() > 1", "map and filter are not known here"),
        ("subject.groups.exists(subject, true)", "\"subject\" is taken"),
        ("subject.groups.exists(g, 1)", "is not known for"),
        ("has(subject.nmae)", "subject has no field \"nmae\""),
        ("subject.?name == 'x'", "unsupported syntax"),
    ] {
        let error = refusal(source);
        assert!(error.contains(said), "{source}\n got {error}\nwant {said}");
    }
    let asking = Condition::compile("request.role == 'x' && request.verb == 'get'", About::Asking);
    assert!(asking.unwrap_err().contains("request has no field \"verb\""));
}

#[test]
fn what_could_take_too_long_is_refused() {
    let nested = "subject.groups.exists(a, request.command.exists(b, a == b))";
    assert!(refusal(nested).contains("this may take too long"));
    assert_eq!(test("['a', 'b'].exists(a, request.command.exists(b, a == b))"), Ok(false));
    let joined = format!("'x' {} == 'y'", "+ request.name ".repeat(300));
    assert!(Condition::compile(&joined, About::Request).is_err());
    assert!(refusal(&format!("true{}", " ".repeat(4096))).contains("at most 4096 are read"));
}

/// Deep nesting must neither overflow the stack of a small thread nor panic.
#[test]
fn nesting_has_a_bound() {
    let sources = [
        format!("{}true{}", "(".repeat(2000), ")".repeat(2000)),
        format!("{}true", "!".repeat(4000)),
        format!("{}1 == 1", "-".repeat(4000)),
        format!("1{} == 1", "+1".repeat(2000)),
        format!("true{}", "||true".repeat(680)),
        format!("true{}", "?true:true".repeat(390)),
        format!("subject.groups{}", "[0]".repeat(1300)),
        format!("{}1{}", "[".repeat(2000), "]".repeat(2000)),
        format!("{}true{}", "size(".repeat(680), ")".repeat(680)),
        format!("subject.groups{}", ".exists(a,true)".repeat(270)),
    ];
    for source in sources {
        if let Err(error) = Condition::compile(&source, About::Request) {
            assert!(
                error.contains("nested too deep")
                    || error.contains("is not known")
                    || error.contains("this is no list"),
                "{error}"
            );
        }
    }
    // What is accepted is evaluated on the caller's stack.
    assert_eq!(test(&format!("{}true{}", "!(".repeat(46), ")".repeat(46))), Ok(true));
    assert_eq!(test(&format!("{}true{}", "true && (".repeat(46), ")".repeat(46))), Ok(true));
    assert_eq!(test(&format!("1{} == 46", " + 1".repeat(45))), Ok(true));
    let tall = format!("{}true{}", "[1].all(a, ".repeat(14), ")".repeat(14));
    assert_eq!(test(&tall), Ok(true));
    assert_eq!(test(&format!("true{}", " && true".repeat(400))), Ok(true));
}

#[test]
fn someone_who_asks_is_seen_with_what_they_ask_for() {
    let holds = |source: &str| {
        let condition = Condition::compile(source, About::Asking).unwrap();
        let role: RoleName = "pods".parse().unwrap();
        let ask = crate::Ask { role: &role, target: "demo", duration: Duration::from_secs(1800) };
        condition.holds_for(&person("alice", &["dev"]), &ask, start())
    };
    assert_eq!(holds("request.role == 'pods' && request.target == 'demo' && time.hour == 12"), Ok(true));
    assert_eq!(holds("request.duration <= duration('30m') && 'dev' in subject.groups"), Ok(true));
    assert_eq!(holds("request.duration < duration('30m')"), Ok(false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is written, compiling and testing ends in an answer or an error.
    #[test]
    fn no_text_makes_it_panic(words in prop::collection::vec(prop::sample::select(vec![
        "subject", ".", "groups", "name", "request", "command", "process", "argv", "time", "now", "hour", "==", "!=",
        "&&", "||", "!", "(", ")", "[", "]", "{", "}", "?", ":", ",", "'a'", "\"", "'", "1", "-", "+", "%", "/", "in",
        "has", "exists", "all", "map", "x", "matches", "size", "timestamp", "duration", "true", "null", "1u", "0x",
        "b'x'", "\\", "\n", "é", "`", "@", "@result", "getHours", "'UTC'", "//", "r'", "1.5", "9223372036854775807",
    ]), 0..24), spaced in any::<bool>()) {
        let source = words.join(if spaced { " " } else { "" });
        if let Ok(condition) = Condition::compile(&source, About::Request) {
            let (alice, operation, facts) = (person("alice", &["dev"]), op("list pods"), facts());
            let query = Query { subject: &alice, target: "demo", operation: &operation, facts: &facts };
            let _ = Case::new(&query, start()).test(&condition);
        }
    }

    #[test]
    fn nor_does_any_other_text(source in ".{0,60}") {
        let _ = Condition::compile(&source, About::Request);
    }
}
