//! Mail: a bounded queue, and a task that empties it by SMTP or into a folder.
//!
//! No request waits for mail, so that its time tells nothing of who exists. What is mailed holds tokens and is never logged.

mod template;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use tokio::sync::mpsc;

pub use template::{Template, TemplateError, Templates};

use crate::secret::random_id;

/// Mails that wait to be sent; what comes after is dropped and logged. One takes a few KiB.
pub const QUEUE_MAX: usize = 256;
/// How long a mail server may take for one step.
const SMTP_TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before a mail is tried again.
const RETRIES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// How mail leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlet {
    /// By SMTP.
    Smtp {
        /// `smtps://host`, `smtp://host?tls=required`, or `smtp://host` without TLS; a port may follow the host.
        url: String,
        /// User and password, if the server asks for them.
        login: Option<(String, String)>,
    },
    /// As files in a folder, for trying things out.
    Folder(PathBuf),
}

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Confirm the address.
    Verify,
    /// The address has an account already.
    AlreadyRegistered,
    /// Set a new password.
    Reset,
    /// The password was changed.
    PasswordChanged,
    /// A provider's identity signs in to the account from now on.
    IdentityLinked,
    /// A provider's identity signs in to the account no longer.
    IdentityUnlinked,
}

/// Why mail cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The server's address.
    #[error("mail.smtp is no address of a mail server: {0}")]
    Url(lettre::transport::smtp::Error),
    /// The sender.
    #[error("mail.from is no mailbox such as \"Vyuha <noreply@example.com>\": {0}")]
    From(lettre::address::AddressError),
    /// A template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The folder.
    #[error("the folder {} for mail cannot be used: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Takes mail.
#[derive(Clone)]
pub struct Mailer {
    queue: mpsc::Sender<Letter>,
    site: String,
}

struct Letter {
    topic: Topic,
    to: String,
    values: Vec<(&'static str, String)>,
}

/// The other end of the queue.
pub struct Postman {
    letters: mpsc::Receiver<Letter>,
    templates: Templates,
    from: Mailbox,
    route: Route,
}

enum Route {
    Smtp(Box<AsyncSmtpTransport<Tokio1Executor>>),
    Folder(PathBuf),
}

/// Opens the way out; `site` is what mails call the place, and where their links lead.
///
/// # Errors
/// Where a setting is wrong. A mail server is not asked for yet.
pub fn open(
    outlet: &Outlet,
    from: &str,
    site: &str,
    templates: Templates,
) -> Result<(Mailer, Postman), MailError> {
    let from = from.parse().map_err(MailError::From)?;
    let route = match outlet {
        Outlet::Smtp { url, login } => {
            let mut transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
                .map_err(MailError::Url)?
                .timeout(Some(SMTP_TIMEOUT));
            if let Some((user, password)) = login {
                transport = transport.credentials(Credentials::new(user.clone(), password.clone()));
            }
            Route::Smtp(Box::new(transport.build()))
        }
        Outlet::Folder(path) => {
            let failed = |source| MailError::Folder { path: path.clone(), source };
            std::fs::create_dir_all(path).map_err(failed)?;
            Route::Folder(path.clone())
        }
    };
    let (queue, letters) = mpsc::channel(QUEUE_MAX);
    Ok((Mailer { queue, site: site.to_owned() }, Postman { letters, templates, from, route }))
}

impl Mailer {
    /// Puts a mail into the queue.
    pub fn send(&self, topic: Topic, to: &str, token: Option<&str>) {
        let mut values = vec![("site", self.site.clone()), ("email", to.to_owned())];
        values.extend(token.map(|token| ("token", token.to_owned())));
        if self.queue.try_send(Letter { topic, to: to.to_owned(), values }).is_err() {
            tracing::error!(?topic, "a mail was dropped: too many wait, or none are sent any more");
        }
    }
}

impl Postman {
    /// Sends what comes until every [`Mailer`] is gone.
    pub async fn run(mut self) {
        while let Some(letter) = self.letters.recv().await {
            let (topic, message) = (letter.topic, self.write(&letter));
            let message = match message {
                Ok(message) => message,
                Err(error) => {
                    tracing::error!(?topic, %error, "a mail cannot be written");
                    continue;
                }
            };
            let mut pauses = RETRIES.iter();
            while let Err(error) = self.deliver(&message).await {
                let Some(pause) = pauses.next() else {
                    tracing::error!(?topic, error, "a mail could not be sent and was dropped");
                    break;
                };
                tracing::warn!(?topic, error, "a mail could not be sent yet");
                tokio::time::sleep(*pause).await;
            }
        }
    }

    fn write(&self, letter: &Letter) -> Result<Message, Box<dyn std::error::Error + Send + Sync>> {
        let (subject, body) = self.templates.of(letter.topic).fill(&letter.values);
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, letter.to.parse::<Address>()?))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(body)?;
        Ok(message)
    }

    async fn deliver(&self, message: &Message) -> Result<(), String> {
        match &self.route {
            Route::Smtp(transport) => {
                transport.send(message.clone()).await.map(drop).map_err(|error| error.to_string())
            }
            Route::Folder(folder) => {
                put(folder, &message.formatted()).map_err(|error| format!("{}: {error}", folder.display()))
            }
        }
    }
}

/// Writes a mail into a folder, readable to its owner alone.
fn put(folder: &Path, message: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let name = random_id().map_err(|_| io::Error::other("no random numbers"))?;
    let path = folder.join(format!("{name}.eml"));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(message)
}
