//! The Kubernetes types that the controller reads and writes: its own `ArtifactGenerator`, the `ExternalArtifact`s it
//! publishes, and the five kinds of source in one light form.
//!
//! Root objects are written out by hand instead of derived: `spec` is not required of an `ArtifactGenerator`, and a broken
//! status must never break a watch, neither of which the derive offers.

pub mod artifact_generator;
pub mod crd;
pub mod external_artifact;
mod key;
mod lenient;
pub mod source;

pub use key::ObjectKey;

/// Field manager of every write, `source` of every event and value of [`MANAGED_BY_LABEL`]. It is the name of the
/// controller that Weir replaces, so that a swap leaves one owner of each field.
pub const FIELD_MANAGER: &str = "source-watcher";
/// Label with the UID of the generator on each of its outputs.
pub const GENERATOR_LABEL: &str = "source.extensions.fluxcd.io/generator";
/// Label with [`FIELD_MANAGER`] on each output.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Holds back the deletion of a generator until its outputs are gone.
pub const FINALIZER: &str = "source.extensions.fluxcd.io/finalizer";
/// Annotation that pauses a generator when its value lower-cases to `disabled`.
pub const PAUSE_ANNOTATION: &str = "source.extensions.fluxcd.io/reconcile";
/// Annotation with an opaque token; a new token asks for a reconcile.
pub const REQUEST_ANNOTATION: &str = "reconcile.fluxcd.io/requestedAt";
/// Annotation that confirms the deletion of all outputs, with the token that the condition Ready asks for.
pub const CONFIRM_ANNOTATION: &str = "source.extensions.fluxcd.io/confirm-prune";
/// Key in an artifact's metadata for the revision that it was made from.
pub const ORIGIN_REVISION_KEY: &str = "org.opencontainers.image.revision";

/// `kube::Resource` and `Serialize` for a root object with the fields `metadata`, `spec` and `status`.
macro_rules! root_object {
    ($type:ident, group: $group:expr, version: $version:expr, plural: $plural:expr) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = kube::core::NamespaceResourceScope;

            fn kind(_: &()) -> std::borrow::Cow<'_, str> {
                stringify!($type).into()
            }
            fn group(_: &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }
            fn version(_: &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }
            fn plural(_: &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &kube::core::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut kube::core::ObjectMeta {
                &mut self.metadata
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct as _;
                let mut object = serializer.serialize_struct(stringify!($type), 5)?;
                object.serialize_field("apiVersion", concat!($group, "/", $version))?;
                object.serialize_field("kind", stringify!($type))?;
                object.serialize_field("metadata", &self.metadata)?;
                // An absent spec stays absent: an empty one would break the schema.
                if self.spec == Default::default() {
                    object.skip_field("spec")?;
                } else {
                    object.serialize_field("spec", &self.spec)?;
                }
                match &self.status {
                    Some(status) => object.serialize_field("status", status)?,
                    None => object.skip_field("status")?,
                }
                object.end()
            }
        }
    };
}
pub(crate) use root_object;
