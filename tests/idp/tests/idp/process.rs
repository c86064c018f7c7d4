//! The binary.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use idp::Person;
use serde_json::Value;

use crate::rig::Web;

struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn it_says_where_it_is_and_serves_until_it_is_told_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let people = dir.path().join("people.json");
    std::fs::write(&people, serde_json::to_string(&[Person::example("alice", &["dev"])]).unwrap()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_idp"));
    command.args(["--client", "one", "--client", "two", "--rs256", "--people"]).arg(&people);
    let mut process = Stopped(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let issuer = said["issuer"].as_str().unwrap();
    let web = Web::new();
    let metadata = web.get(&format!("{issuer}/.well-known/openid-configuration")).json(200);
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(metadata["id_token_signing_alg_values_supported"], serde_json::json!(["RS256"]));
    for (client, good) in [("one", true), ("two", true), ("portcullis", false)] {
        let form = [("client_id", client), ("scope", "openid")];
        let begun = web.post(&format!("{issuer}/device_authorization"), &form);
        assert_eq!(begun.status == 200, good, "{client}");
    }
    let terminated = Command::new("kill").args(["-TERM", &process.0.id().to_string()]).status().unwrap();
    assert!(terminated.success());
    assert!(process.0.wait().unwrap().success());
}

#[test]
fn off_loopback_or_without_people_it_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let people = dir.path().join("people.json");
    std::fs::write(&people, serde_json::to_string(&[Person::example("alice", &[])]).unwrap()).unwrap();
    let missing = dir.path().join("nobody.json");
    for (listen, file, why) in
        [("0.0.0.0:0", &people, "no loopback address"), ("127.0.0.1:0", &missing, "nobody.json")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_idp"));
        let output = command.args(["--listen", listen, "--people"]).arg(file).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{why}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(why) && output.stdout.is_empty(), "{said}");
    }
}
