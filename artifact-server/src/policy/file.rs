//! The policy file, YAML or JSON.

use serde::Deserialize;

use super::{Claim, Pattern, Policy, Rule};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rules: Vec<FileRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRule {
    identities: Vec<FileClaim>,
    kinds: Vec<String>,
    namespaces: Vec<String>,
    controllers: Option<Vec<String>>,
}

/// Exactly one of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileClaim {
    uid: Option<u32>,
    dns: Option<String>,
    uri: Option<String>,
}

impl Policy {
    /// Reads a file. The error is one line that says where it is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
        let file: File = serde_saphyr::from_str(text).map_err(|error| one_line(&error.to_string()))?;
        let rules = file.rules.into_iter().enumerate();
        let rules = rules.map(|(at, rule)| rule.read().map_err(|error| format!("rules[{at}]{error}")));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }
}

/// The parser shows the place in the text below its message.
fn one_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty()).unwrap_or("it can not be read");
    line.trim_start_matches("error: ").to_owned()
}

impl FileRule {
    fn read(self) -> Result<Rule, String> {
        let identities = self.identities.into_iter().enumerate();
        let identities =
            identities.map(|(at, claim)| claim.read().map_err(|error| format!(".identities[{at}]{error}")));
        let identities = identities.collect::<Result<Vec<_>, _>>()?;
        if identities.is_empty() {
            return Err(".identities: name at least one".to_owned());
        }
        // Kinds are stored in lower case, however they are written.
        let kinds = self.kinds.into_iter().map(|kind| kind.to_lowercase()).collect();
        Ok(Rule {
            identities,
            kinds: patterns(".kinds", kinds)?,
            namespaces: patterns(".namespaces", self.namespaces)?,
            controllers: patterns(".controllers", self.controllers.unwrap_or_else(|| vec!["*".to_owned()]))?,
        })
    }
}

impl FileClaim {
    fn read(self) -> Result<Claim, String> {
        let claims = [self.uid.map(Claim::Uid), self.dns.map(Claim::Dns), self.uri.map(Claim::Uri)];
        let mut claims = claims.into_iter().flatten();
        match (claims.next(), claims.next()) {
            (Some(Claim::Dns(text) | Claim::Uri(text)), None) if text.is_empty() => {
                Err(": must not be empty".to_owned())
            }
            (Some(claim), None) => Ok(claim),
            _ => Err(": name exactly one of uid, dns and uri".to_owned()),
        }
    }
}

fn patterns(field: &str, words: Vec<String>) -> Result<Vec<Pattern>, String> {
    if words.is_empty() {
        return Err(format!("{field}: name at least one, or \"*\" for all"));
    }
    let wrong = |word: &&String| word.is_empty() || word.trim_end_matches('*').contains('*') || word.ends_with("**");
    match words.iter().find(wrong) {
        Some(word) => Err(format!("{field}: {word:?} is neither a word nor the beginning of one with * at its end")),
        None => Ok(words.into_iter().map(Pattern).collect()),
    }
}
