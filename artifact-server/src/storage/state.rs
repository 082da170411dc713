//! Small documents of the server itself, as JSON on its volume.

use serde::{Serialize, de::DeserializeOwned};

use super::{Storage, StorageError};

/// Reads a document; `None` when there is none yet. One that is there but can not be read is an error, never none.
pub(crate) fn read<T: DeserializeOwned>(storage: &dyn Storage, name: &str) -> Result<Option<T>, StorageError> {
    let Some(bytes) = storage.state(name)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        let place = format!("{}/.weir/{name}", storage.location());
        StorageError::io("read", place, std::io::Error::other(format!("it is damaged ({error})")))
    })
}

/// Replaces a document, durably.
pub(crate) fn write<T: Serialize>(storage: &dyn Storage, name: &str, document: &T) -> Result<(), StorageError> {
    let bytes =
        serde_json::to_vec(document).map_err(|error| StorageError::io("write", name, std::io::Error::other(error)))?;
    storage.put_state(name, &bytes)
}
