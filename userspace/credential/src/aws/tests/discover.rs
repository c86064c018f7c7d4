use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::json;

use super::*;
use crate::{
    CredentialError, UpstreamTls, Why,
    aws::discover::{discover_or_remembered_with, discover_with},
};

/// Runs moto's server with a CA that is one: its own clusters have a random string.
const MOTO: &str = r#"
import base64, sys
from moto.eks.models import Cluster
from moto.server import main
certificate, key, port = sys.argv[1:]
data = base64.b64encode(open(certificate, "rb").read()).decode()
init = Cluster.__init__
def with_ca(self, *args, **kwargs):
    init(self, *args, **kwargs)
    if self.name != "broken":
        self.certificate_authority = {"data": data}
Cluster.__init__ = with_ca
main(["-H", "127.0.0.1", "-p", port, "--ssl-cert", certificate, "--ssl-key", key])
"#;

/// moto's server, an independent stand-in for the EKS API, over TLS.
struct Moto {
    process: Child,
    url: String,
    dir: tempfile::TempDir,
}

impl Moto {
    async fn start() -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(dir.path().join("ca.crt"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new("python3")
            .args(["-c", MOTO])
            .arg(dir.path().join("ca.crt"))
            .arg(dir.path().join("key.pem"))
            .arg(port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect(
                "this test asks moto where a cluster is, which needs python3: pip install 'moto[server,eks]'",
            );
        // It says so when it listens.
        let mut said = BufReader::new(process.stderr.take().unwrap()).lines();
        let (mut heard, mut listens) = (Vec::new(), false);
        for line in said.by_ref().map_while(Result::ok) {
            listens = line.contains("Running on");
            heard.push(line);
            if listens {
                break;
            }
        }
        assert!(listens, "moto's server did not start: pip install 'moto[server,eks]'\n{}", heard.join("\n"));
        std::thread::spawn(move || said.count());
        Self { process, url: format!("https://127.0.0.1:{port}"), dir }
    }

    fn stop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    fn config(&self) -> EksConfig {
        let mut config = config(self.ca());
        config.endpoints.eks = Some(self.url.clone());
        config
    }

    async fn create_cluster(&self, name: &str) {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(self.ca()).unwrap()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build().unwrap();
        let cluster =
            json!({"name": name, "roleArn": ROLE, "resourcesVpcConfig": {"subnetIds": ["subnet-1"]}});
        // moto looks at the scope alone.
        let scope = "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-central-1/eks/aws4_request, SignedHeaders=host, \
                     Signature=0";
        let request =
            client.post(format!("{}/clusters", self.url)).header("authorization", scope).json(&cluster);
        let response = request.timeout(Duration::from_secs(20)).send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn look_up(config: &EksConfig) -> Result<crate::DiscoveredCluster, CredentialError> {
    discover_with(config, Turned::new().clock(), Some(base())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_found_and_remembered_when_aws_is_gone() {
    let mut moto = Moto::start().await;
    let config = moto.config();
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("demo.cluster.json");
    let find = || discover_or_remembered_with(&config, &file, Turned::new().clock(), Some(base()));
    // Not there: that is AWS's answer, and final.
    let refused = look_up(&config).await.unwrap_err();
    let said = refused.to_string();
    assert!(said.starts_with("cannot look up EKS cluster demo: ResourceNotFoundException: "), "{said}");
    assert!(find().await.is_err() && !file.exists());
    moto.create_cluster("demo").await;
    let found = find().await.unwrap();
    assert_eq!(found.remembered, None);
    let cluster = &found.cluster;
    assert_eq!((cluster.name.as_str(), cluster.region.as_str()), ("demo", "eu-central-1"));
    assert!(
        cluster.endpoint.starts_with("https://") && cluster.arn.ends_with(":cluster/demo"),
        "{cluster:?}"
    );
    UpstreamTls::from_pem(&file, cluster.certificate_authority_pem.as_bytes()).unwrap();
    // A CA that is none is not taken, let alone kept.
    moto.create_cluster("broken").await;
    let broken = EksConfig { cluster: "broken".into(), ..moto.config() };
    assert!(look_up(&broken).await.unwrap_err().to_string().contains("its CA is not"));

    // An untrusted server is no answer at all.
    let stranger = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let other = state.path().join("other.crt");
    std::fs::write(&other, stranger.cert.pem()).unwrap();
    let distrusting = EksConfig { certificate_authority: Some(other), ..config.clone() };
    let said = look_up(&distrusting).await.unwrap_err().to_string();
    assert!(said.contains("certificate"), "{said}");

    moto.stop();
    let kept = find().await.unwrap();
    assert_eq!(&kept.cluster, cluster);
    assert!(matches!(kept.remembered.unwrap().why, Why::Unreachable(_)));
    // What is remembered is of this cluster alone, and nobody else's word.
    let elsewhere = EksConfig { region: "eu-west-1".into(), ..config.clone() };
    let recalled = discover_or_remembered_with(&elsewhere, &file, Turned::new().clock(), Some(base())).await;
    assert!(recalled.is_err());
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    assert!(find().await.is_err());
}
