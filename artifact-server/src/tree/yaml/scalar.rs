//! What a scalar is, with its tag.

use std::borrow::Cow;

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    resolve::{Scalar, resolve},
    shortened,
};

/// What the tags of YAML itself start with.
const CORE: &str = "tag:yaml.org,2002:";

/// As Go's, which does not care for the bits that are over.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Reads a scalar. A quoted one is a text unless its tag says otherwise; a tag that YAML does not know says nothing.
pub(super) fn read<'a>(value: &'a str, tag: Option<&str>, plain: bool) -> Result<Scalar<'a>, String> {
    match tag.map(|tag| tag.strip_prefix(CORE).unwrap_or("")) {
        None if plain => Ok(resolve(value, true)),
        Some("binary") => binary(value).map(Scalar::Text),
        Some(tag @ ("bool" | "int" | "float" | "null" | "timestamp")) => tagged(value, tag),
        _ => Ok(Scalar::Text(value.into())),
    }
}

fn tagged<'a>(value: &'a str, tag: &str) -> Result<Scalar<'a>, String> {
    let scalar = match resolve(value, tag == "timestamp") {
        #[expect(clippy::cast_precision_loss, reason = "as in Go")]
        Scalar::Int(number) if tag == "float" => Scalar::Float(number as f64),
        scalar => scalar,
    };
    match scalar.tag() {
        found if found == tag => Ok(scalar),
        found => Err(format!("yaml: cannot decode !!{found} `{}` as a !!{tag}", shortened(value))),
    }
}

/// The bytes as text: JSON has nothing else.
fn binary(value: &str) -> Result<Cow<'static, str>, String> {
    let digits: String = value.chars().filter(|character| !matches!(character, '\r' | '\n')).collect();
    let bytes = BASE64.decode(digits).map_err(|_| "yaml: !!binary value contains invalid base64 data")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned().into())
}
