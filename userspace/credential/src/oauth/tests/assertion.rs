use std::{collections::BTreeSet, process::Command};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{server::CLIENT, *};

/// A key by OpenSSL, in this form; gives the public key.
fn key(server: &Server, how: &str) -> Vec<u8> {
    let run = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(&server.dir).output();
        let output = output.expect("openssl is needed to make keys independently");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let made = run(how);
    secret(&server.file("key"), std::str::from_utf8(&made).unwrap());
    run("pkey -in key -pubout -outform DER")
}

/// Header and claims, if the signature is of that key.
fn verified(assertion: &str, public: &[u8], algorithm: &'static dyn VerificationAlgorithm) -> (Value, Value) {
    let (text, signature) = assertion.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let public = ParsedPublicKey::new(algorithm, public).unwrap();
    public.verify_sig(text.as_bytes(), &signature).unwrap();
    let (header, claims) = text.split_once('.').unwrap();
    let json = |part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (json(header), json(claims))
}

#[tokio::test]
async fn a_key_proves_who_asks_and_every_assertion_is_new() {
    let server = Server::start().await;
    let mut numbers = BTreeSet::new();
    let rsa: &dyn VerificationAlgorithm = &RSA_PKCS1_2048_8192_SHA256;
    let keys = [
        ("genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048", "RS256", rsa),
        ("genrsa -traditional 2048", "RS256", rsa),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", "ES256", &ECDSA_P256_SHA256_FIXED),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384", "ES384", &ECDSA_P384_SHA384_FIXED),
        ("ecparam -name prime256v1 -genkey -noout", "ES256", &ECDSA_P256_SHA256_FIXED),
        ("ecparam -name secp384r1 -genkey -noout", "ES384", &ECDSA_P384_SHA384_FIXED),
        ("genpkey -algorithm ED25519", "EdDSA", &ED25519),
    ];
    for (how, name, algorithm) in keys {
        let public = key(&server, how);
        let by = json!({"privateKeyFile": server.file("key"), "keyId": "k-1"});
        let source = server.source(server.config(server.endpoint(), by));
        source.check().unwrap();
        token(&source).await.unwrap_or_else(|error| panic!("{how}: {error}"));
        let form = server.forms().pop().unwrap();
        assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        let (header, claims) = verified(&form["client_assertion"], &public, algorithm);
        assert_eq!(header, json!({"alg": name, "typ": "JWT", "kid": "k-1"}));
        let now = server.state(|state| state.now.as_second());
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!(CLIENT), &json!(CLIENT)));
        assert_eq!(claims["aud"], server.url("/token"));
        assert_eq!((&claims["iat"], &claims["exp"]), (&json!(now), &json!(now + 120)));
        assert!(numbers.insert(claims["jti"].to_string()));
    }
}

#[tokio::test]
async fn an_assertion_is_addressed_to_the_issuer_where_it_is_known() {
    let server = Server::start().await;
    let public = key(&server, "genpkey -algorithm ED25519");
    let metadata = json!({
        "issuer": server.url("/x"), "token_endpoint": server.url("/token"),
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
    });
    server.state(|state| {
        state.pages.insert("/.well-known/oauth-authorization-server/x".into(), metadata);
    });
    let by = json!({"privateKeyFile": server.file("key")});
    let source = server.source(server.config(json!({"issuer": server.url("/x")}), by));
    token(&source).await.unwrap();
    let (header, claims) = verified(&server.forms()[0]["client_assertion"], &public, &ED25519);
    assert_eq!(claims["aud"], server.url("/x"));
    assert!(header.get("kid").is_none());
}

#[tokio::test]
async fn keys_of_other_kinds_are_told_at_the_start() {
    let server = Server::start().await;
    for how in [
        "genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:1024",
        "genpkey -algorithm X25519",
        "ecparam -name secp256k1 -genkey -noout",
    ] {
        key(&server, how);
        let by = json!({"privateKeyFile": server.file("key")});
        let said = server.source(server.config(server.endpoint(), by)).check().unwrap_err().to_string();
        assert!(said.starts_with("oauthClientCredentials.privateKeyFile: "), "{how}: {said}");
    }
}
