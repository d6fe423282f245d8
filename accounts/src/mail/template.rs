//! The texts of mails: a subject, an empty line, a body; `{name}` stands for a value.

use std::path::{Path, PathBuf};

use super::Topic;

/// A text with its places for values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    subject: String,
    body: String,
}

/// A text is no template.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// The file cannot be read.
    #[error("the mail template {} cannot be read: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It does not begin with a subject.
    #[error("the mail template {name} must begin with a line \"Subject: ...\" and an empty line")]
    Subject {
        /// The template.
        name: &'static str,
    },
    /// It has a place for a value that there is not.
    #[error("the mail template {name} has a place for {{{place}}}; there is {known}")]
    Place {
        /// The template.
        name: &'static str,
        /// What stands there.
        place: String,
        /// What may stand there.
        known: &'static str,
    },
    /// It lacks the place of the token.
    #[error("the mail template {name} has no place for {{token}}, without which nobody can use it")]
    NoToken {
        /// The template.
        name: &'static str,
    },
}

/// A template for each topic.
#[derive(Debug, Clone)]
pub struct Templates {
    verify: Template,
    already_registered: Template,
    reset: Template,
    password_changed: Template,
    identity_linked: Template,
    identity_unlinked: Template,
}

impl Topic {
    /// The name of its file, without the ending.
    const fn name(self) -> &'static str {
        match self {
            Topic::Verify => "verify",
            Topic::AlreadyRegistered => "already_registered",
            Topic::Reset => "reset",
            Topic::PasswordChanged => "password_changed",
            Topic::IdentityLinked => "identity_linked",
            Topic::IdentityUnlinked => "identity_unlinked",
        }
    }

    const fn has_token(self) -> bool {
        matches!(self, Topic::Verify | Topic::Reset)
    }

    const fn built_in(self) -> &'static str {
        match self {
            Topic::Verify => include_str!("../../../content/mail/verify.txt"),
            Topic::AlreadyRegistered => include_str!("../../../content/mail/already_registered.txt"),
            Topic::Reset => include_str!("../../../content/mail/reset.txt"),
            Topic::PasswordChanged => include_str!("../../../content/mail/password_changed.txt"),
            Topic::IdentityLinked => include_str!("../../../content/mail/identity_linked.txt"),
            Topic::IdentityUnlinked => include_str!("../../../content/mail/identity_unlinked.txt"),
        }
    }
}

impl Templates {
    /// Those in a folder `mail` of the content, and the built-in ones for what is not there.
    pub fn load(content: Option<&Path>) -> Result<Templates, TemplateError> {
        let load = |topic: Topic| {
            let path = content.map(|content| content.join("mail").join(format!("{}.txt", topic.name())));
            match path.filter(|path| path.exists()) {
                Some(path) => {
                    let why = |error: std::io::Error| TemplateError::Unreadable {
                        path: path.clone(),
                        why: error.to_string(),
                    };
                    Template::parse(topic, &std::fs::read_to_string(&path).map_err(why)?)
                }
                None => Template::parse(topic, topic.built_in()),
            }
        };
        Ok(Templates {
            verify: load(Topic::Verify)?,
            already_registered: load(Topic::AlreadyRegistered)?,
            reset: load(Topic::Reset)?,
            password_changed: load(Topic::PasswordChanged)?,
            identity_linked: load(Topic::IdentityLinked)?,
            identity_unlinked: load(Topic::IdentityUnlinked)?,
        })
    }

    /// The template for a topic.
    pub fn of(&self, topic: Topic) -> &Template {
        match topic {
            Topic::Verify => &self.verify,
            Topic::AlreadyRegistered => &self.already_registered,
            Topic::Reset => &self.reset,
            Topic::PasswordChanged => &self.password_changed,
            Topic::IdentityLinked => &self.identity_linked,
            Topic::IdentityUnlinked => &self.identity_unlinked,
        }
    }
}

impl Template {
    /// Reads a template, and sees that it can be filled.
    pub fn parse(topic: Topic, text: &str) -> Result<Template, TemplateError> {
        let name = topic.name();
        let text = text.replace("\r\n", "\n");
        let parts = text.strip_prefix("Subject: ").and_then(|text| text.split_once("\n\n"));
        let Some((subject, body)) = parts.filter(|(subject, _)| !subject.contains('\n')) else {
            return Err(TemplateError::Subject { name });
        };
        let template = Template { subject: subject.trim().to_owned(), body: body.to_owned() };
        let (known, names): (_, &[&str]) = if topic.has_token() {
            ("{site}, {email} and {token}", &["site", "email", "token"])
        } else {
            ("{site} and {email}", &["site", "email"])
        };
        for place in places(&template.subject).chain(places(&template.body)) {
            if !names.contains(&place) {
                return Err(TemplateError::Place { name, place: place.to_owned(), known });
            }
        }
        if topic.has_token() && !places(&template.body).any(|place| place == "token") {
            return Err(TemplateError::NoToken { name });
        }
        Ok(template)
    }

    /// Subject and body with these values in their places.
    pub fn fill(&self, values: &[(&'static str, String)]) -> (String, String) {
        let fill = |text: &str| {
            let mut filled = String::with_capacity(text.len());
            let mut rest = text;
            // Text is gone through once: what stands in a value is not taken for a place.
            while let Some((before, (place, after))) =
                rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
            {
                filled.push_str(before);
                if let Some((_, value)) = values.iter().find(|(name, _)| *name == place) {
                    filled.push_str(value);
                }
                rest = after;
            }
            filled + rest
        };
        (fill(&self.subject), fill(&self.body))
    }
}

/// What stands in braces.
fn places(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_checked_when_they_are_read() {
        let check = |topic: Topic, text: &str, says: Option<&str>| {
            let refused = Template::parse(topic, text).err().map(|error| error.to_string());
            match (refused, says) {
                (None, None) => {}
                (Some(refused), Some(says)) => assert!(refused.contains(says), "{refused}"),
                (refused, _) => panic!("{text:?}: {refused:?}"),
            }
        };
        check(Topic::Verify, "Subject: Hello {site}\n\nYour token: {token}\n", None);
        check(Topic::Verify, "Subject: Hello\r\n\r\n{token}", None);
        check(Topic::Verify, "Hello\n\n{token}", Some("must begin"));
        check(Topic::Verify, "Subject: Hello\n{token}", Some("must begin"));
        check(Topic::Verify, "Subject: Hello\nBcc: all\n\n{token}", Some("must begin"));
        check(Topic::Verify, "Subject: Hello\n\nno token", Some("no place for {token}"));
        check(Topic::Verify, "Subject: Hello\n\n{token} {name}", Some("{name}"));
        check(Topic::PasswordChanged, "Subject: Hello\n\n{email}", None);
        check(Topic::PasswordChanged, "Subject: Hello\n\n{token}", Some("{token}"));
    }

    #[test]
    fn values_are_put_in_once() {
        let template =
            Template::parse(Topic::Verify, "Subject: {email}\n\n{site}: {token}, {token}.").unwrap();
        let values =
            [("site", "{token}".to_owned()), ("email", "a@b.co".to_owned()), ("token", "T".to_owned())];
        assert_eq!(template.fill(&values), ("a@b.co".into(), "{token}: T, T.".into()));
    }

    #[test]
    fn a_folder_replaces_some_and_the_rest_is_built_in() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("mail")).unwrap();
        let file = dir.path().join("mail/reset.txt");
        std::fs::write(&file, "Subject: Ours\n\n{token}").unwrap();
        let templates = Templates::load(Some(dir.path())).unwrap();
        assert_eq!(templates.of(Topic::Reset).subject, "Ours");
        assert_ne!(templates.of(Topic::Verify).subject, "Ours");
        std::fs::write(&file, "nothing").unwrap();
        assert!(Templates::load(Some(dir.path())).is_err());
        assert!(Templates::load(None).is_ok());
    }
}
