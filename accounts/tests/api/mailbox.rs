//! A small SMTP server that keeps what it gets.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A mail as it came over the line.
#[derive(Debug)]
pub struct Mail {
    /// To whom it went, by the envelope.
    pub to: String,
    /// Headers and body.
    pub text: String,
}

impl Mail {
    /// The word that begins with `prefix`.
    pub fn token(&self, prefix: &str) -> String {
        let text = self.text.replace("=\r\n", "");
        let word = text.split_whitespace().find(|word| word.starts_with(prefix));
        word.unwrap_or_else(|| panic!("no {prefix} in {text}")).to_owned()
    }
}

/// Starts the server; what it gets comes out of the receiver.
pub async fn start() -> (SocketAddr, mpsc::UnboundedReceiver<Mail>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mails, mailbox) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, mails.clone()));
        }
    });
    (address, mailbox)
}

async fn serve(stream: TcpStream, mails: mpsc::UnboundedSender<Mail>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut to = String::new();
    write.write_all(b"220 sink ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" => "250 sink\r\n",
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                "250 ok\r\n"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    text += line.strip_prefix('.').unwrap_or(&line);
                    text += "\r\n";
                }
                // The test may be over.
                let _ = mails.send(Mail { to: to.clone(), text });
                "250 kept\r\n"
            }
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                break;
            }
            _ => "250 ok\r\n",
        };
        write.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
