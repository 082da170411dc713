//! The table of parts.

use std::path::{Path, PathBuf};

/// A part that the tests run as a real process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The store below the API server.
    Etcd,
    /// The Kubernetes API server.
    KubeApiserver,
    /// Flux's source-controller: git to artifacts.
    SourceController,
    /// Flux's kustomize-controller: a consumer.
    KustomizeController,
    /// Flux's helm-controller: a consumer.
    HelmController,
    /// The gRPC command line.
    Grpcurl,
    /// The Go artifact SDK as a peer (`e2e/peer`).
    Peer,
    /// Go's own answers about globs, archives and YAML (`e2e/oracle`).
    Oracle,
    /// A leader elected by client-go (`e2e/elector`).
    Elector,
    /// The example controller in Go (`examples/configmaps-go`).
    ConfigMaps,
    /// Runs the conformance cases over Go's stubs (`e2e/conformance/go`).
    Conformance,
}

/// What is known of a part.
pub(super) struct Recipe {
    /// File name of the program.
    pub(super) name: &'static str,
    /// Folder of the Go module, below this crate.
    module: &'static str,
    /// Go package of the program.
    pub(super) package: &'static str,
    /// Go module whose `config/crd/bases` holds the part's resource definitions.
    pub(super) definitions: Option<&'static str>,
    /// Linker flags, where the program should know its version.
    pub(super) link: &'static str,
    /// Minutes a first build takes on two cores, told to the waiting person.
    pub(super) minutes: &'static str,
}

const FLUX: &str = "tools/flux";

/// Charts may ask for a Kubernetes version, so the API server must know its own.
const KUBE_VERSION: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";
const STRIPPED: &str = "-s -w";

impl Part {
    /// Every part.
    pub const ALL: [Self; 11] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::SourceController,
        Self::KustomizeController,
        Self::HelmController,
        Self::Grpcurl,
        Self::Peer,
        Self::Oracle,
        Self::Elector,
        Self::ConfigMaps,
        Self::Conformance,
    ];

    /// File name of the program.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.recipe().name
    }

    pub(super) fn is_kubebuilder_asset(self) -> bool {
        matches!(self, Self::Etcd | Self::KubeApiserver)
    }

    /// Folder of the Go module that lists the part.
    pub(super) fn module(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.recipe().module)
    }

    pub(super) fn recipe(self) -> Recipe {
        match self {
            Self::Etcd => Recipe {
                name: "etcd",
                module: FLUX,
                package: "go.etcd.io/etcd/server/v3",
                definitions: None,
                link: STRIPPED,
                minutes: "one minute",
            },
            Self::KubeApiserver => Recipe {
                name: "kube-apiserver",
                module: "tools/kube",
                package: "k8s.io/kubernetes/cmd/kube-apiserver",
                definitions: None,
                link: KUBE_VERSION,
                minutes: "three minutes",
            },
            Self::SourceController => flux("source-controller", "github.com/fluxcd/source-controller"),
            Self::KustomizeController => flux("kustomize-controller", "github.com/fluxcd/kustomize-controller"),
            Self::HelmController => flux("helm-controller", "github.com/fluxcd/helm-controller"),
            Self::Grpcurl => Recipe {
                name: "grpcurl",
                module: FLUX,
                package: "github.com/fullstorydev/grpcurl/cmd/grpcurl",
                definitions: None,
                link: STRIPPED,
                minutes: "half a minute",
            },
            Self::Peer => own("peer"),
            Self::Oracle => own("oracle"),
            Self::Elector => Recipe { minutes: "two minutes", ..own("elector") },
            Self::ConfigMaps => {
                Recipe { module: "../examples/configmaps-go", minutes: "three minutes", ..own("configmaps-go") }
            }
            Self::Conformance => Recipe { module: "conformance/go", minutes: "three minutes", ..own("conformance") },
        }
    }
}

/// A program whose module lies in a folder of its name.
fn own(name: &'static str) -> Recipe {
    Recipe { name, module: name, package: ".", definitions: None, link: STRIPPED, minutes: "half a minute" }
}

/// A Flux controller: its program and its resource definitions share a module.
fn flux(name: &'static str, package: &'static str) -> Recipe {
    Recipe { name, module: FLUX, package, definitions: Some(package), link: STRIPPED, minutes: "two minutes" }
}
