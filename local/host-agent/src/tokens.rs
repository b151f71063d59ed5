//! The agent's tokens: those of its launch, and those that Hasura answered later.
//!
//! The newest one is tried first. One that Hasura refuses is not given up: during a rotation of the
//! key, Hasura accepts the older one until it has the next key. The one that worked last is tried
//! first from then on, so that a rotation does not double the requests.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use secrecy::{ExposeSecret, SecretString};

use crate::config::UserData;

/// Renewed tokens that are kept: the newest, one of the key in use, and some to spare.
const KEPT: usize = 4;

#[derive(Debug)]
pub struct Tokens {
    held: Mutex<Held>,
    /// Renewed tokens, one a line, the newest first. Only its owner can read it.
    file: PathBuf,
}

#[derive(Debug)]
struct Held {
    /// The newest first.
    renewed: Vec<SecretString>,
    of_launch: Vec<SecretString>,
    /// Its place in the order of all.
    in_use: usize,
}

impl Held {
    fn all(&self) -> impl Iterator<Item = &SecretString> {
        self.renewed.iter().chain(&self.of_launch)
    }

    fn place_of(&self, token: &SecretString) -> Option<usize> {
        let is_same = |held: &SecretString| held.expose_secret() == token.expose_secret();
        self.all().position(is_same)
    }
}

impl Tokens {
    /// The tokens of the user data, and those that an earlier run kept in the file.
    pub fn load(user_data: &UserData, file: PathBuf) -> Self {
        let kept = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                let file = file.display();
                tracing::warn!(%error, %file, "kept tokens cannot be read: set AGENT_TOKEN_FILE");
                String::new()
            }
        };
        let renewed = kept.lines().filter(|line| !line.is_empty());
        let held = Held {
            renewed: renewed.map(SecretString::from).collect(),
            of_launch: user_data
                .next_token
                .iter()
                .chain([&user_data.token])
                .cloned()
                .collect(),
            in_use: 0,
        };
        Self {
            held: Mutex::new(held),
            file,
        }
    }

    /// Every token, in the order in which to try them.
    pub(crate) fn in_order(&self) -> Vec<SecretString> {
        let held = self.held();
        let in_use = held.all().nth(held.in_use);
        let others = held.all().enumerate();
        let others = others.filter(|(place, _)| *place != held.in_use);
        let others = others.map(|(_, token)| token);
        in_use.into_iter().chain(others).cloned().collect()
    }

    /// Hasura refused the token that was tried first, and accepted this one. A token that was renewed
    /// meanwhile has not been tried, and stays the first.
    pub(crate) fn accepted_instead(&self, refused: &SecretString, accepted: &SecretString) {
        let mut held = self.held();
        if held.place_of(refused) == Some(held.in_use)
            && let Some(place) = held.place_of(accepted)
        {
            held.in_use = place;
        }
    }

    /// Keeps the token that Hasura answered, and tries it first. It is answered until it is used,
    /// so one that is known changes nothing.
    pub(crate) fn renew(&self, token: SecretString) {
        let mut held = self.held();
        if held.place_of(&token).is_some() {
            return;
        }
        held.renewed.insert(0, token);
        held.renewed.truncate(KEPT);
        held.in_use = 0;
        match write(&self.file, &held.renewed) {
            Ok(()) => tracing::info!("token renewed"),
            // It is used nonetheless, and answered again after a restart.
            Err(error) => {
                let file = self.file.display();
                tracing::warn!(%error, %file, "token is not kept: set AGENT_TOKEN_FILE");
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Replaces the file at once, so that a crash leaves the old one or the new one.
fn write(file: &Path, tokens: &[SecretString]) -> io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    // One that a crash left may have other permissions.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    for token in tokens {
        writeln!(written, "{}", token.expose_secret())?;
    }
    written.sync_all()?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn user_data(next: &str) -> UserData {
        let text = format!(
            "SCALING_HASURA_URL=http://x\nSCALING_AGENT_TOKEN=first\nSCALING_AGENT_NEXT_TOKEN={next}\n"
        );
        UserData::parse(&text).unwrap()
    }

    fn order(tokens: &Tokens) -> Vec<String> {
        let tokens = tokens.in_order().into_iter();
        tokens.map(|it| it.expose_secret().to_owned()).collect()
    }

    #[test]
    fn renewed_tokens_are_kept_for_the_owner_only_and_tried_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        let tokens = Tokens::load(&user_data("next"), file.clone());
        assert_eq!(order(&tokens), ["next", "first"]);
        for token in ["a", "b", "b", "c", "d", "e"] {
            tokens.renew(token.into());
        }
        assert_eq!(order(&tokens), ["e", "d", "c", "b", "next", "first"]);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let restarted = Tokens::load(&user_data(""), file);
        assert_eq!(order(&restarted), ["e", "d", "c", "b", "first"]);
        assert!(!format!("{restarted:?}").contains("first"));
    }

    #[test]
    fn token_that_worked_is_tried_first_until_another_is_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::load(&user_data(""), folder.path().join("tokens"));
        tokens.renew("next".into());
        tokens.accepted_instead(&"next".into(), &"first".into());
        assert_eq!(order(&tokens), ["first", "next"]);
        // It is answered again until it is used.
        tokens.renew("next".into());
        assert_eq!(order(&tokens), ["first", "next"]);
        tokens.renew("newer".into());
        assert_eq!(order(&tokens), ["newer", "next", "first"]);
        // The answer to a request that began before the renewal.
        tokens.accepted_instead(&"next".into(), &"first".into());
        assert_eq!(order(&tokens), ["newer", "next", "first"]);
    }

    #[test]
    fn token_that_cannot_be_kept_is_used_nonetheless() {
        let tokens = Tokens::load(&user_data(""), "/nonexistent/tokens".into());
        tokens.renew("next".into());
        assert_eq!(order(&tokens), ["next", "first"]);
    }
}
