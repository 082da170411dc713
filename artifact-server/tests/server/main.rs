//! The real binary on loopback: everything a controller, a consumer or an operator can see of it.

#[cfg(test)]
mod adoption;
#[cfg(test)]
mod aliases;
#[cfg(test)]
mod archives;
#[cfg(test)]
mod attacks;
#[cfg(test)]
#[path = "../sources/authority.rs"]
mod authority;
#[cfg(test)]
mod builds;
#[cfg(test)]
mod cancelled;
#[cfg(test)]
mod client;
#[cfg(test)]
mod deadlines;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod downloads;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod full;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod load;
#[cfg(test)]
mod locks;
#[cfg(test)]
mod mtls;
#[cfg(test)]
mod names;
#[cfg(test)]
mod patience;
#[cfg(test)]
mod pki;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod process;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod secure_client;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod tls;
#[cfg(test)]
#[path = "../sources/tls_server.rs"]
mod tls_server;
#[cfg(test)]
mod uploads;
#[cfg(test)]
mod wire;
