//! Decoding that gives up a part instead of the whole. A status is written by machines and edited by hand; one broken field
//! of one object must not end the watch on all of them. Used as `#[serde(deserialize_with = "…")]` next to `default`.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// The value, or the default when it is null or has another form.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(source: D) -> Result<T, D::Error> {
    let value = Value::deserialize(source)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// The items that can be read; the others are left out. Anything but a list is an empty one.
pub(crate) fn items<'de, D: Deserializer<'de>, T: DeserializeOwned>(source: D) -> Result<Vec<T>, D::Error> {
    let Value::Array(values) = Value::deserialize(source)? else { return Ok(Vec::new()) };
    Ok(values.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect())
}

/// Null counts as absent; anything else must have the right form.
pub(crate) fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    source: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(source)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::{
        artifact_generator::ArtifactGenerator,
        external_artifact::ExternalArtifact,
        source::{Source, SourceKind},
    };

    #[test]
    fn a_broken_status_costs_only_itself() {
        let condition = json!({"type": "Ready", "status": "True", "reason": "Succeeded", "message": "",
            "lastTransitionTime": "2026-01-02T03:04:05Z"});
        let entry = json!({"name": "a", "namespace": "n", "digest": "sha256:1", "filename": "1.tar.gz"});
        // (row, status, conditions read, inventory entries read)
        let rows = [
            ("absent", json!({}), 0, 0),
            ("null", json!({"status": null}), 0, 0),
            ("a text", json!({"status": "broken"}), 0, 0),
            (
                "null parts",
                json!({"status": {"conditions": null, "inventory": null, "observedSourcesDigest": null}}),
                0,
                0,
            ),
            (
                "parts of another form",
                json!({"status": {"conditions": 1, "inventory": {}, "lastHandledReconcileAt": 7}}),
                0,
                0,
            ),
            (
                "good items survive bad ones",
                json!({"status": {"conditions": [condition, 3], "inventory": [null, entry, {"name": 1}]}}),
                1,
                1,
            ),
        ];
        for (row, mut object, conditions, inventory) in rows {
            object["metadata"] = json!({"name": "g", "namespace": "n"});
            let read: ArtifactGenerator = serde_json::from_value(object).unwrap();
            let status = read.status.unwrap_or_default();
            assert_eq!((status.conditions.len(), status.inventory.len()), (conditions, inventory), "row {row}");
        }
    }

    #[test]
    fn an_object_without_spec_is_read() {
        for spec in [json!({}), json!({"spec": null})] {
            let read: ArtifactGenerator = serde_json::from_value(spec).unwrap();
            assert_eq!(read.spec.artifacts.len(), 0);
        }
    }

    #[test]
    fn a_broken_artifact_is_no_artifact() {
        // (row, status, artifact of a source, artifact of an output)
        let full = json!({"digest": "sha256:1", "lastUpdateTime": "2026-01-02T03:04:05Z", "path": "p", "revision": "r",
            "url": "u", "metadata": null});
        let rows = [
            ("null", json!(null), false, false),
            ("artifact null", json!({"artifact": null}), false, false),
            ("artifact a text", json!({"artifact": "x"}), false, false),
            ("only a URL", json!({"artifact": {"url": "http://x"}}), true, false),
            ("no time", json!({"artifact": {"digest": "d", "path": "p", "revision": "r", "url": "u"}}), true, false),
            ("full", json!({"artifact": full, "conditions": "x"}), true, true),
        ];
        for (row, status, source, output) in rows {
            let object = json!({"metadata": {}, "status": status});
            let read: Source = serde_json::from_value(object.clone()).unwrap();
            assert_eq!(read.artifact().is_some(), source, "row {row} as source");
            let read: ExternalArtifact = serde_json::from_value(object).unwrap();
            assert_eq!(read.artifact().is_some(), output, "row {row} as output");
        }
    }

    #[test]
    fn kinds_have_their_names_and_urls() {
        use kube::Resource as _;
        for kind in SourceKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let url = Source::url_path(&SourceKind::OciRepository, Some("n"));
        assert_eq!(url, "/apis/source.toolkit.fluxcd.io/v1/namespaces/n/ocirepositories");
        assert!("Gitrepository".parse::<SourceKind>().is_err());
        let root = serde_json::to_value(ArtifactGenerator::default()).unwrap();
        assert_eq!(root["apiVersion"], "source.extensions.fluxcd.io/v1beta1");
        assert_eq!(root["kind"], "ArtifactGenerator");
        assert_eq!(root.get("spec"), None, "an absent spec stays absent");
    }
}
