//! The resources this server has: the table that discovery, routing, printing and storage share.

/// A resource, as `kubectl api-resources` lists it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// Name in paths.
    pub plural: &'static str,
    /// Name for people.
    pub singular: &'static str,
    /// Kind of its objects.
    pub kind: &'static str,
    /// Abbreviations kubectl takes.
    pub short: &'static [&'static str],
    /// Lives in a namespace.
    pub namespaced: bool,
    /// `kubectl get all` shows it.
    pub in_all: bool,
    /// Verbs on the resource itself.
    pub verbs: &'static [&'static str],
    /// Type in the schema.
    pub schema: &'static str,
    /// What stands below an object of it.
    pub subresources: &'static [Subresource],
}

/// Something below an object, such as `pods/log`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subresource {
    /// Name in paths.
    pub name: &'static str,
    /// Kind of its objects or options.
    pub kind: &'static str,
    /// Group and version of the kind, where they are not the resource's own.
    pub foreign: Option<(&'static str, &'static str)>,
    /// Verbs on it.
    pub verbs: &'static [&'static str],
}

const FULL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const NO_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const PART: &[&str] = &["get", "patch", "update"];
const STREAM: &[&str] = &["create", "get"];
const CREATE: &[&str] = &["create"];

const fn status(kind: &'static str) -> Subresource {
    Subresource { name: "status", kind, foreign: None, verbs: PART }
}

const SCALE: Subresource =
    Subresource { name: "scale", kind: "Scale", foreign: Some(("autoscaling", "v1")), verbs: PART };

/// A core resource that is created, read and deleted in the usual ways.
const PLAIN: Resource = Resource {
    group: "",
    version: "v1",
    plural: "",
    singular: "",
    kind: "",
    short: &[],
    namespaced: true,
    in_all: false,
    verbs: FULL,
    schema: "",
    subresources: &[],
};

/// A question that is asked by creating an object which is never stored.
const REVIEW: Resource = Resource { namespaced: false, verbs: CREATE, ..PLAIN };

/// Every resource, groups together, sorted by name within a group.
pub(crate) static RESOURCES: &[Resource] = &[
    Resource {
        plural: "configmaps",
        singular: "configmap",
        kind: "ConfigMap",
        short: &["cm"],
        schema: "core.v1.ConfigMap",
        ..PLAIN
    },
    Resource {
        plural: "endpoints",
        singular: "endpoints",
        kind: "Endpoints",
        short: &["ep"],
        schema: "core.v1.Endpoints",
        ..PLAIN
    },
    Resource {
        plural: "events",
        singular: "event",
        kind: "Event",
        short: &["ev"],
        schema: "core.v1.Event",
        ..PLAIN
    },
    Resource {
        plural: "namespaces",
        singular: "namespace",
        kind: "Namespace",
        short: &["ns"],
        namespaced: false,
        verbs: NO_COLLECTION,
        schema: "core.v1.Namespace",
        subresources: &[
            Subresource { name: "finalize", kind: "Namespace", foreign: None, verbs: &["update"] },
            status("Namespace"),
        ],
        ..PLAIN
    },
    Resource {
        plural: "nodes",
        singular: "node",
        kind: "Node",
        short: &["no"],
        namespaced: false,
        schema: "core.v1.Node",
        subresources: &[status("Node")],
        ..PLAIN
    },
    Resource {
        plural: "pods",
        singular: "pod",
        kind: "Pod",
        short: &["po"],
        in_all: true,
        schema: "core.v1.Pod",
        subresources: &[
            Subresource { name: "attach", kind: "PodAttachOptions", foreign: None, verbs: STREAM },
            Subresource { name: "ephemeralcontainers", kind: "Pod", foreign: None, verbs: PART },
            Subresource { name: "exec", kind: "PodExecOptions", foreign: None, verbs: STREAM },
            Subresource { name: "log", kind: "Pod", foreign: None, verbs: &["get"] },
            Subresource { name: "portforward", kind: "PodPortForwardOptions", foreign: None, verbs: STREAM },
            status("Pod"),
        ],
        ..PLAIN
    },
    Resource { plural: "secrets", singular: "secret", kind: "Secret", schema: "core.v1.Secret", ..PLAIN },
    Resource {
        plural: "serviceaccounts",
        singular: "serviceaccount",
        kind: "ServiceAccount",
        short: &["sa"],
        schema: "core.v1.ServiceAccount",
        subresources: &[Subresource {
            name: "token",
            kind: "TokenRequest",
            foreign: Some(("authentication.k8s.io", "v1")),
            verbs: CREATE,
        }],
        ..PLAIN
    },
    Resource {
        plural: "services",
        singular: "service",
        kind: "Service",
        short: &["svc"],
        in_all: true,
        schema: "core.v1.Service",
        subresources: &[status("Service")],
        ..PLAIN
    },
    Resource {
        group: "apps",
        plural: "daemonsets",
        singular: "daemonset",
        kind: "DaemonSet",
        short: &["ds"],
        in_all: true,
        schema: "apps.v1.DaemonSet",
        subresources: &[status("DaemonSet")],
        ..PLAIN
    },
    Resource {
        group: "apps",
        plural: "deployments",
        singular: "deployment",
        kind: "Deployment",
        short: &["deploy"],
        in_all: true,
        schema: "apps.v1.Deployment",
        subresources: &[SCALE, status("Deployment")],
        ..PLAIN
    },
    Resource {
        group: "apps",
        plural: "replicasets",
        singular: "replicaset",
        kind: "ReplicaSet",
        short: &["rs"],
        in_all: true,
        schema: "apps.v1.ReplicaSet",
        subresources: &[SCALE, status("ReplicaSet")],
        ..PLAIN
    },
    Resource {
        group: "apps",
        plural: "statefulsets",
        singular: "statefulset",
        kind: "StatefulSet",
        short: &["sts"],
        in_all: true,
        schema: "apps.v1.StatefulSet",
        subresources: &[SCALE, status("StatefulSet")],
        ..PLAIN
    },
    Resource {
        group: "authentication.k8s.io",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        kind: "SelfSubjectReview",
        schema: "authentication.v1.SelfSubjectReview",
        ..REVIEW
    },
    Resource {
        group: "authentication.k8s.io",
        plural: "tokenreviews",
        singular: "tokenreview",
        kind: "TokenReview",
        schema: "authentication.v1.TokenReview",
        ..REVIEW
    },
    Resource {
        group: "authorization.k8s.io",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        kind: "SelfSubjectAccessReview",
        schema: "authorization.v1.SelfSubjectAccessReview",
        ..REVIEW
    },
    Resource {
        group: "authorization.k8s.io",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        kind: "SelfSubjectRulesReview",
        schema: "authorization.v1.SelfSubjectRulesReview",
        ..REVIEW
    },
    Resource {
        group: "authorization.k8s.io",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        kind: "SubjectAccessReview",
        schema: "authorization.v1.SubjectAccessReview",
        ..REVIEW
    },
    Resource {
        group: "batch",
        plural: "cronjobs",
        singular: "cronjob",
        kind: "CronJob",
        short: &["cj"],
        in_all: true,
        schema: "batch.v1.CronJob",
        subresources: &[status("CronJob")],
        ..PLAIN
    },
    Resource {
        group: "batch",
        plural: "jobs",
        singular: "job",
        kind: "Job",
        in_all: true,
        schema: "batch.v1.Job",
        subresources: &[status("Job")],
        ..PLAIN
    },
    Resource {
        group: "certificates.k8s.io",
        plural: "certificatesigningrequests",
        singular: "certificatesigningrequest",
        kind: "CertificateSigningRequest",
        short: &["csr"],
        namespaced: false,
        schema: "certificates.v1.CertificateSigningRequest",
        subresources: &[
            Subresource { name: "approval", kind: "CertificateSigningRequest", foreign: None, verbs: PART },
            status("CertificateSigningRequest"),
        ],
        ..PLAIN
    },
];

impl Resource {
    /// The resource of that group, version and name in paths.
    pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
        RESOURCES.iter().find(|known| (known.group, known.version, known.plural) == (group, version, plural))
    }

    /// A core resource of this server.
    ///
    /// # Panics
    /// When the table has none of that name.
    pub(crate) fn core(plural: &str) -> &'static Resource {
        Resource::find("", "v1", plural).unwrap_or_else(|| panic!("no core resource {plural}"))
    }

    /// `v1` or `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The subresource of that name.
    pub(crate) fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }
}

/// Groups in the order discovery lists them, each with its version.
pub(crate) fn groups() -> Vec<(&'static str, &'static str)> {
    let mut groups: Vec<(&str, &str)> = RESOURCES.iter().map(|known| (known.group, known.version)).collect();
    groups.dedup();
    groups
}
