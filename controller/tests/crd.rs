//! The CRD in `deploy/` is the one of the types. `WEIR_REGENERATE=1 cargo test -p weir-controller --test crd` writes it anew.

use std::{env, fs, path::Path};

use weir_controller::api::crd;

#[test]
fn manifest_is_fresh() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/base/crd/artifactgenerators.yaml");
    let yaml = serde_saphyr::to_string(&crd::artifact_generator()).unwrap();
    let text = format!(
        "# Generated from controller/src/api by `WEIR_REGENERATE=1 cargo test -p weir-controller --test crd`.\n{yaml}"
    );
    if env::var_os("WEIR_REGENERATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &text).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == text, "{} is stale: run this test once with WEIR_REGENERATE=1", file.display());
}
