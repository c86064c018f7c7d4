//! The commands that run to their end, in order: later rows see what earlier ones left.

use super::{Outcome, minor};

/// One command and what must come of it.
pub(crate) struct Row {
    /// The command line, without `kubectl`; a first word `@user` picks who runs it.
    pub(crate) command: &'static str,
    /// What it reads.
    pub(crate) stdin: &'static str,
    /// All versions must print the same.
    pub(crate) alike: bool,
    code: i32,
    stdout: &'static [&'static str],
    stderr: &'static [&'static str],
    /// Versions (second number) that the row is for.
    since: u32,
}

/// A command that succeeds and prints these pieces.
const fn row(command: &'static str, stdout: &'static [&'static str]) -> Row {
    Row { command, stdin: "", alike: true, code: 0, stdout, stderr: &[], since: 0 }
}

impl Row {
    /// Fails with this code and these pieces on stderr.
    const fn fails(self, code: i32, stderr: &'static [&'static str]) -> Row {
        Row { code, stderr, ..self }
    }

    /// Versions print it differently, each in its way.
    const fn varies(self) -> Row {
        Row { alike: false, ..self }
    }

    const fn reads(self, stdin: &'static str) -> Row {
        Row { stdin, ..self }
    }

    const fn since(self, minor: u32) -> Row {
        Row { since: minor, ..self }
    }

    /// The command line as arguments; single quotes keep blanks.
    pub(crate) fn command(&self) -> Vec<String> {
        let manifests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests");
        let mut words = vec![String::new()];
        let mut quoted = false;
        for letter in self.command.replace("@/", &format!("{manifests}/")).chars() {
            match letter {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                letter => words.last_mut().expect("never empty").push(letter),
            }
        }
        words
    }

    /// Whether the outcome is as wanted.
    pub(crate) fn check(&self, version: &str, outcome: &Outcome) -> Result<(), String> {
        if minor(version) < self.since {
            return Ok(());
        }
        if outcome.code != self.code {
            return Err(format!("wanted exit code {}", self.code));
        }
        let lacks =
            |text: &str, pieces: &[&'static str]| pieces.iter().copied().find(|piece| !text.contains(piece));
        if let Some(piece) = lacks(&outcome.stdout, self.stdout) {
            return Err(format!("stdout lacks {piece:?}"));
        }
        match lacks(&outcome.stderr, self.stderr) {
            Some(piece) => Err(format!("stderr lacks {piece:?}")),
            None => Ok(()),
        }
    }
}

/// Text without what differs from cluster to cluster (ids, times, ages, versions) and without its columns' widths.
pub(crate) fn stable(text: &str) -> String {
    let split = |letter: char| letter.is_whitespace() || "\"'{}[],=/<>()".contains(letter);
    let is_id = |word: &str| word.len() == 36 && word.matches('-').count() == 4;
    let is_time =
        |word: &str| word.len() >= 20 && word.starts_with("20") && word.contains('T') && word.ends_with('Z');
    let is_age = |word: &str| {
        let units = word.trim_matches(|letter: char| letter.is_ascii_digit() || "smhd".contains(letter));
        units.is_empty()
            && word.starts_with(|first: char| first.is_ascii_digit())
            && word.ends_with(['s', 'm', 'h', 'd'])
    };
    let line = |line: &str| {
        let words = line.split_whitespace().map(|word| {
            let bare = word.trim_matches(split);
            let varies = is_id(bare) || is_time(bare) || is_age(bare);
            if varies { word.replace(bare, "*") } else { word.to_owned() }
        });
        format!("    {}\n", words.collect::<Vec<_>>().join(" "))
    };
    text.lines().filter(|text| !text.contains("resourceVersion")).map(line).collect()
}

/// The rows.
pub(crate) fn rows() -> Vec<Row> {
    [reading(), refusals(), writing(), applying(), patching(), waiting(), commands(), asking()]
        .into_iter()
        .flatten()
        .collect()
}

fn reading() -> Vec<Row> {
    vec![
        row(
            "get pods",
            &["NAME    READY   STATUS    RESTARTS", "echo    1/1     Running", "web     2/2     Running"],
        ),
        row("get pods -A -o wide", &["NAMESPACE   NAME", "node1"]).varies(),
        row("get pods -o name", &["pod/echo\npod/shell\npod/web\n"]),
        row("get pods -o jsonpath={.items[*].spec.containers[*].name}", &["cat sh web sidecar"]),
        row("get pod web -o yaml", &["name: sidecar", "phase: Running"]).varies(),
        row("get pods -l app=web -o name", &["pod/web\n"]),
        row("get pods --field-selector=metadata.name=echo -o name", &["pod/echo\n"]),
        row("get pods --show-labels", &["app=shell"]),
        row("get all", &["pod/shell", "service/web", "deployment.apps/web"]),
        row("get secrets", &["db-credentials", "kubernetes.io/tls", "helm.sh/release.v1"]),
        row("get secret api-key -o yaml", &["key: RkFLRS1BUElLRVktMDEyMzQ1Njc4OWFiY2RlZg==", "type: Opaque"]),
        row("get secrets -A -o json", &["\"kind\": \"List\"", "RkFLRS1wcm9kLXBheW1lbnQta2V5"]).varies(),
        row("get secrets -n bulk --chunk-size=7 -o name", &["secret/bulk-00000", "secret/bulk-00029"]),
        row("get secrets -n bulk --chunk-size=7", &["bulk-00000", "bulk-00029"]),
        row("get ns", &["default       Active", "kube-system   Active", "prod          Active"]),
        row("get nodes -o wide", &["node1   Ready", "10.0.0.1"]),
        row("get cm,svc,ep,sa,deploy,rs", &["configmap/app-config", "serviceaccount/robot"]),
        row("get events", &["pod/shell", "Started container sh"]),
        row("events", &["Pod/shell", "Started container sh"]),
        row("describe secret db-credentials", &["password:  22 bytes", "example.test/owner: payments"])
            .varies(),
        row(
            "describe pod web",
            &["DB_PASSWORD:", "<set to the key 'password' in secret 'db-credentials'>", "Pulled"],
        )
        .varies(),
        row(
            "describe deployment web",
            &["2 desired | 2 updated | 2 total | 2 available", "MinimumReplicasAvailable"],
        )
        .varies(),
        row("describe node node1", &["InternalIP:  10.0.0.1", "Non-terminated Pods:"]).varies(),
        row("describe cm app-config", &["retries=3"]).varies(),
        row("describe svc web", &["TargetPort:", "8080/TCP"]).varies(),
        row("api-resources", &["pods ", "deploy", "apps/v1"]),
        row("api-versions", &["apps/v1\nauthentication.k8s.io/v1\n", "v1\n"]),
        row("version", &["v1.36.2"]).varies(),
        row("cluster-info", &["control plane"]).varies(),
        row("explain pod", &["spec\t<PodSpec>", "VERSION:    v1"]).varies(),
        row("explain pod.spec.containers", &["imagePullPolicy\t<string>", "<[]Container>"]).varies(),
        row("explain deployment.spec --recursive", &["progressDeadlineSeconds\t<integer>"]).varies(),
        row("get --raw /api/v1/namespaces/demo/configmaps/app-config", &["\"color\":\"blue\""]).varies(),
        row("get --raw /readyz", &["ok"]),
    ]
}

fn refusals() -> Vec<Row> {
    let nothing: &[&str] = &[];
    vec![
        row("get secret nosuch", nothing).fails(1, &["Error from server (NotFound): secrets \"nosuch\" not found"]),
        row("get nosuch", nothing).fails(1, &["the server doesn't have a resource type \"nosuch\""]),
        row("@alice get pods -o name", &["pod/shell"]),
        row("@alice get secrets", nothing).fails(
            1,
            &["Error from server (Forbidden): secrets is forbidden: User \"alice\" cannot list resource \"secrets\" in API group \"\" in the namespace \"demo\""],
        ),
        row("@alice delete pod shell", nothing).fails(1, &["pods \"shell\" is forbidden: User \"alice\" cannot delete"]),
        row("@nobody get nodes", nothing).fails(
            1,
            &["nodes is forbidden: User \"nobody\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"],
        ),
        row("@nobody get pods --as=admin", nothing).fails(1, &["cannot impersonate-on:user-info:list"]),
        row("@gateway get pods --as=alice --as-group=dev -o name", &["pod/shell"]),
        row("@gateway get secrets --as=alice --as-group=dev", nothing).fails(1, &["User \"alice\" cannot list"]),
        row("@admin-cert get secrets -o name", &["secret/api-key"]),
        row("--token=token-wrong-9999 get pods", nothing).fails(1, &["You must be logged in to the server"]),
        row("exec nosuchpod -- ls", nothing).fails(1, &["pods \"nosuchpod\" not found"]),
        row("exec shell -c nope -- ls", nothing).fails(1, &["container nope is not valid for pod shell"]),
        row("@nobody exec shell -- ls", nothing).fails(1, &["User \"nobody\" cannot get resource \"pods\""]),
        row("logs shell --previous", nothing).fails(1, &["previous terminated container \"sh\" in pod \"shell\" not found"]),
        row("create -f @/service-invalid.yaml", nothing).fails(1, &["Service \"portless\" is invalid: spec.ports: Required value"]),
    ]
}

fn writing() -> Vec<Row> {
    vec![
        row("create secret generic made --from-literal=pw=FAKE-made-1", &["secret/made created"]),
        row("get secret made -o jsonpath={.data.pw}/{.type}", &["RkFLRS1tYWRlLTE=/Opaque"]),
        row("create secret generic made --from-literal=pw=FAKE-made-2", &[]).fails(1, &["secrets \"made\" already exists"]),
        row("create secret generic dry --from-literal=pw=FAKE-dry --dry-run=server -o yaml", &["pw: RkFLRS1kcnk=", "name: dry"]).varies(),
        row("get secret dry", &[]).fails(1, &["not found"]),
        row("create configmap created --from-literal=a=b", &["configmap/created created"]),
        row("create namespace made", &["namespace/made created"]),
        row("create serviceaccount worker", &["serviceaccount/worker created"]),
        row("create deployment created --image=registry.example.test/made:1 --replicas=2", &["deployment.apps/created created"]),
        row("create service clusterip created --tcp=80:8080", &["service/created created"]),
        row("create -f @/deployment.yaml", &["deployment.apps/applied created"]),
        row("get deploy applied", &["applied   2/2     2            2"]),
        row("delete -f @/deployment.yaml", &["deployment.apps \"applied\" deleted"]),
        row("create token robot --duration=10m", &["eyJ"]).varies(),
        row("run runner --image=registry.example.test/run:1 -- sleep 30", &["pod/runner created"]),
        row("wait --for=condition=Ready pod/runner --timeout=5s", &["pod/runner condition met"]),
        row("replace -f -", &["secret/made replaced"]).reads(
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"made"},"data":{"pw":"RkFLRS1yZXBsYWNlZA=="},"type":"Opaque"}"#,
        ),
        row("get secret made -o jsonpath={.data.pw}", &["RkFLRS1yZXBsYWNlZA=="]),
        row("label pod runner tier=back", &["pod/runner labeled"]),
        row("label pod runner tier-", &["pod/runner unlabeled"]),
        row("annotate pod runner note='two words'", &["pod/runner annotate"]).varies(),
        row("edit configmap app-config", &["configmap/app-config edited"]),
        row("get cm app-config -o jsonpath={.data.color}", &["red"]),
        row("edit secret api-key", &[]).fails(0, &["Edit cancelled, no changes made"]),
        row("scale deployment created --replicas=3", &["deployment.apps/created scaled"]),
        row("get deploy created", &["created   3/3"]),
        row("rollout restart deployment created", &["deployment.apps/created restarted"]),
        row("rollout status deployment created --timeout=5s", &["deployment \"created\" successfully rolled out"]),
        row("set image deployment/created made=registry.example.test/made:2", &["deployment.apps/created image updated"]),
        row("delete secret made", &["secret \"made\" deleted"]),
        row("delete pod runner", &["pod \"runner\" deleted"]),
        row("delete pod runner --ignore-not-found", &[]),
        row("delete namespace made", &["namespace \"made\" deleted"]),
        row("delete configmap,deployment,service created", &["configmap \"created\" deleted"]),
        row("delete secret --all -n prod", &["secret \"payment-key\" deleted"]),
        row("delete --raw /api/v1/namespaces/bulk/secrets?fieldSelector=metadata.name%3Dbulk-00029", &["SecretList"]).varies(),
        row("get secret bulk-00029 -n bulk", &[]).fails(1, &["not found"]),
    ]
}

fn applying() -> Vec<Row> {
    vec![
        row("apply -f @/configmap.yaml", &["configmap/applied created"]),
        row("apply -f @/configmap.yaml", &["configmap/applied unchanged"]),
        row("diff -f @/configmap-changed.yaml", &["-  k: v1", "+  k: v2"]).fails(1, &[]).varies(),
        row(
            "apply --dry-run=server -f @/configmap-changed.yaml",
            &["configmap/applied configured (server dry run)"],
        ),
        row("apply -f @/configmap-changed.yaml", &["configmap/applied configured"]),
        row("get cm applied -o jsonpath={.data}", &[r#"{"k":"v2"}"#]),
        row("apply view-last-applied cm applied", &["k: v2"]),
        row("apply --server-side -f @/configmap.yaml", &["configmap/applied serverside-applied"]),
        row("get cm applied -o jsonpath={.data}", &[r#"{"k":"v1"}"#]),
        row("apply --server-side --field-manager=other -f @/configmap-changed.yaml", &[])
            .fails(1, &["Apply failed with 1 conflict: conflict with \"kubectl\": .data.k"]),
        row(
            "apply --server-side --field-manager=other --force-conflicts -f @/configmap-changed.yaml",
            &["serverside-applied"],
        ),
        row(
            "get cm applied --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}",
            &["other"],
        ),
        row("apply -f @/secret.yaml", &["secret/applied-secret created"]),
        row("get secret applied-secret -o jsonpath={.data.token}", &["RkFLRS1hcHBsaWVkLXRva2VuLTE="]),
        row("apply -f @/deployment.yaml", &["deployment.apps/applied created"]),
        row("apply -f @/deployment-changed.yaml", &["deployment.apps/applied configured"]),
        row(
            "get deploy applied -o jsonpath={.spec.template.spec.containers[*].env}{.spec.template.spec.containers[*].image}",
            &[r#"[{"name":"B","value":"2"}]registry.example.test/main:2 registry.example.test/side:1"#],
        ),
        row("rollout status deployment applied --timeout=5s", &["successfully rolled out"]),
        row("apply -f @/unknown-field.yaml", &[])
            .fails(1, &["strict decoding error: unknown field \"datum\""]),
        row("apply --validate=warn -f @/unknown-field.yaml", &["configmap/bad created"])
            .fails(0, &["Warning: unknown field \"datum\""]),
        row(
            "delete -f @/configmap.yaml -f @/secret.yaml -f @/deployment.yaml",
            &["secret \"applied-secret\" deleted"],
        ),
    ]
}

fn patching() -> Vec<Row> {
    vec![
        row(r#"patch configmap app-config -p {"data":{"x":"1"}}"#, &["configmap/app-config patched"]),
        row(
            r#"patch configmap app-config --type=json -p [{"op":"remove","path":"/data/x"}]"#,
            &["configmap/app-config patched"],
        ),
        row(r#"patch configmap app-config --type=json -p [{"op":"remove","path":"/data/x"}]"#, &[])
            .fails(1, &["missing"])
            .varies(),
        row(
            r#"patch deployment web --type=merge -p {"metadata":{"annotations":{"a":"b"}}}"#,
            &["deployment.apps/web patched"],
        ),
        row(
            r#"patch deployment web -p {"spec":{"template":{"spec":{"containers":[{"name":"web","image":"registry.example.test/web:2"}]}}}}"#,
            &["deployment.apps/web patched"],
        ),
        row(
            "get deploy web -o jsonpath={.spec.template.spec.containers[0].image}/{.spec.template.spec.containers[0].env[1].name}",
            &["registry.example.test/web:2/INLINE_PASSWORD"],
        ),
        row(r#"patch pod web -p {"spec":{"restartPolicy":"Never"}}"#, &[])
            .fails(1, &["pod updates may not change fields other than"]),
        row(r#"patch secret binary-blob -p {"data":{"blob":"eA=="}}"#, &[])
            .fails(1, &["field is immutable when `immutable` is set"]),
    ]
}

fn waiting() -> Vec<Row> {
    vec![
        row("wait --for=condition=Nope pod/shell --timeout=1s", &[])
            .fails(1, &["timed out waiting for the condition on pods/shell"]),
        row(
            "wait --for=jsonpath={.status.phase}=Running pod/shell --timeout=2s",
            &["pod/shell condition met"],
        ),
        row("rollout status deployment web --timeout=5s", &["successfully rolled out"]),
    ]
}

fn commands() -> Vec<Row> {
    vec![
        row("logs shell --tail=2", &["line 19\nline 20\n"]),
        row("logs web -c sidecar --tail=1", &["line 20\n"]),
        row("logs shell --limit-bytes=9", &["line 1\nli"]),
        row("logs -l app=web --prefix --tail=1 --all-containers", &["[pod/web/sidecar] line 20"]).varies(),
        row("logs shell --tail=1 --timestamps", &["Z line 20"]),
        row("exec shell -- sh -c 'echo out; echo err >&2; exit 3'", &["out\n"])
            .fails(3, &["err\n", "command terminated with exit code 3"]),
        row("exec shell -c sh -- true", &[]),
        row("exec -i shell -- cat", &["stdin line 1\nstdin line 2\n"]).reads("stdin line 1\nstdin line 2\n"),
        row("exec -i shell -- sh -c 'read a; echo got $a'", &["got one\n"]).reads("one\ntwo\n"),
        row("exec shell -- nosuchcommand", &[]).fails(1, &["executable file not found in $PATH"]),
        row("exec shell -- sh -c 'kill -9 $$'", &[]).fails(137, &["command terminated with exit code 137"]),
        row(
            "exec web -c web -- sh -c 'echo $INLINE_PASSWORD at $HOSTNAME'",
            &["FAKE-inline-env-password at web\n"],
        ),
        row("exec shell -- sh -c 'head -c 300000 /dev/zero | tr \"\\0\" x'", &["xxxxxxxx"]),
        row("exec -i shell -- sh -c 'cat > up.txt'", &[]).reads("carried up\n"),
        row("cp shell:up.txt down.txt", &[]),
        row("cp down.txt shell:again.txt", &[]),
        row("exec shell -- cat again.txt", &["carried up\n"]),
    ]
}

fn asking() -> Vec<Row> {
    vec![
        row("auth can-i create pods/exec", &["yes"]),
        row("@alice auth can-i get pods", &["yes"]),
        row("@alice auth can-i get secrets", &["no"]).fails(1, &[]),
        row("@alice auth can-i --list", &["pods/exec", "[get list watch]"]),
        row("auth whoami", &["admin", "[system:masters system:authenticated]"]).varies().since(28),
    ]
}
