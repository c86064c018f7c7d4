//! The policies that deploy/aws gives away are JSON, and ask for what the gate sends.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use serde_json::Value;

const TAGS: [&str; 4] = ["portcullis-subject", "portcullis-role", "portcullis-grant", "portcullis-session"];

fn policy(name: &str) -> Vec<Value> {
    let path = format!("{}/../../deploy/aws/{name}", env!("CARGO_MANIFEST_DIR"));
    let policy: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(policy["Version"], "2012-10-17");
    policy["Statement"].as_array().unwrap().clone()
}

fn actions(statement: &Value) -> Vec<&str> {
    match &statement["Action"] {
        Value::String(action) => vec![action],
        actions => actions.as_array().unwrap().iter().map(|action| action.as_str().unwrap()).collect(),
    }
}

#[test]
fn the_bastion_may_do_four_things() {
    let statements = policy("iam-policy.json");
    let mut allowed: Vec<&str> = statements.iter().flat_map(actions).collect();
    allowed.sort_unstable();
    let expected = ["eks:DescribeCluster", "sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"];
    assert_eq!(allowed, expected);
    assert!(statements.iter().all(|statement| statement["Resource"] != "*"));
}

#[test]
fn an_mcp_role_calls_named_servers_as_itself() {
    for statement in policy("mcp-policy.json") {
        for action in actions(&statement) {
            assert!(action.contains(":Invoke") && !action.contains("ForUser") && !action.contains('*'));
        }
        let resources = match &statement["Resource"] {
            Value::String(arn) => vec![arn.as_str()],
            arns => arns.as_array().unwrap().iter().map(|arn| arn.as_str().unwrap()).collect(),
        };
        assert!(resources.iter().all(|arn| arn.contains(":eu-central-1:111122223333:")), "{resources:?}");
    }
}

#[test]
fn a_role_is_assumed_for_somebody_or_not_at_all() {
    let statements = policy("trust-policy.json");
    let assume = &statements[0];
    assert_eq!(actions(assume), ["sts:AssumeRole"]);
    let demanded = &assume["Condition"]["StringLike"];
    for key in ["sts:RoleSessionName", "sts:SourceIdentity"] {
        assert_eq!(demanded[key], "?*", "{key}");
    }
    for tag in TAGS {
        assert_eq!(demanded[format!("aws:RequestTag/{tag}")], "?*", "{tag}");
    }
    assert!(assume["Condition"]["StringEquals"]["sts:ExternalId"].is_string());
    assert_eq!(actions(&statements[1]), ["sts:SetSourceIdentity"]);
    assert_eq!(actions(&statements[2]), ["sts:TagSession"]);
    let keys = statements[2]["Condition"]["ForAllValues:StringEquals"]["aws:TagKeys"].as_array().unwrap();
    assert_eq!(keys.iter().map(|key| key.as_str().unwrap()).collect::<Vec<_>>(), TAGS);
}
