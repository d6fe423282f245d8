//! How long the computation of a device's sign-in takes: what the server does, and nothing of the device's part, of the network or
//! of the database.

use std::time::{Duration, Instant};

use super::challenge::Challenges;
use super::handshake::{ClientHandshake, Fresh, Handshake, Step};
use super::keys::{Context, KeyPair, verify};
use crate::problem::{Code, Problem};
use crate::secret::random;

/// What the server computes for `count` handshakes, one after the other on this thread.
///
/// # Errors
/// Where one failed, which none does.
pub fn handshakes(count: u32) -> Result<Duration, Problem> {
    let fault = |_| Problem::from(Code::Internal);
    let server = KeyPair::from_seed(&random()?);
    let public = server.public();
    let mut taken = Duration::ZERO;
    for _ in 0..count {
        let key = KeyPair::from_seed(&random()?);
        let theirs = key.public();
        let fresh = Fresh { nonce: random()?, ephemeral: random()? };
        let (client, hello) = ClientHandshake::begin([7; 16], key, public, &fresh);
        let began = Instant::now();
        let fresh = Fresh { nonce: random()?, ephemeral: random()? };
        let mut handshake = Handshake::new(0);
        let step = handshake.receive(&hello, &server, &fresh, 0).map_err(fault)?;
        taken += began.elapsed();
        let Step::Send(reply) = step else { return Err(Code::Internal.into()) };
        let (client, auth) = client.answer(&reply).map_err(fault)?;
        let began = Instant::now();
        handshake.receive(&auth, &server, &fresh, 0).map_err(fault)?;
        let (finish, _) = handshake.judge(Some(&theirs)).map_err(fault)?;
        taken += began.elapsed();
        client.finish(&finish).map_err(fault)?;
    }
    Ok(taken)
}

/// What the server computes for `count` sign-ins over HTTP, challenge and answer, one after the other on this thread.
///
/// # Errors
/// Where one failed, which none does.
pub fn sign_ins(count: u32) -> Result<Duration, Problem> {
    let seed = random()?;
    let (challenges, server) = (Challenges::new(&seed), KeyPair::from_seed(&seed).public());
    let key = KeyPair::from_seed(&random()?);
    let public = key.public();
    let mut taken = Duration::ZERO;
    for _ in 0..count {
        let began = Instant::now();
        let text = challenges.issue(0)?;
        taken += began.elapsed();
        let signed = challenges.read(&text, 1)?.for_sign_in(&server, &[7; 16]);
        let signature = key.sign(Context::SignIn, &signed);
        let began = Instant::now();
        let signed = challenges.read(&text, 1)?.for_sign_in(&server, &[7; 16]);
        if !verify(&public, Context::SignIn, &signed, &signature) {
            return Err(Code::Internal.into());
        }
        taken += began.elapsed();
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_succeeds_and_takes_time() {
        assert!(handshakes(2).unwrap() > Duration::ZERO);
        assert!(sign_ins(2).unwrap() > Duration::ZERO);
    }
}
