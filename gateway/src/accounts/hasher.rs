//! Argon2id on one thread, in memory that is allocated once.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::try_generate_salt;
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};

use super::AccountsError;

/// The most memory that a stored hash may ask for, in KiB; one that asks for more was not made here.
const MEMORY_KIB_MAX: u32 = 256 << 10;
/// The most passes that a stored hash may ask for.
const PASSES_MAX: u32 = 16;
/// The most lanes that a stored hash may ask for.
const LANES_MAX: u32 = 16;

/// What Argon2id spends on a hash. The default is OWASP's recommendation: 19 MiB, two passes, one lane
/// (Password Storage Cheat Sheet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashCost {
    /// Memory in KiB, 8 for each lane to 262,144.
    pub memory_kib: u32,
    /// Passes over the memory, 1 to 16.
    pub passes: u32,
    /// Lanes, 1 to 16; computed one after another.
    pub lanes: u32,
}

impl Default for HashCost {
    fn default() -> HashCost {
        HashCost { memory_kib: 19 << 10, passes: 2, lanes: 1 }
    }
}

/// Hashes and verifies, one password at a time.
pub(super) struct Hasher {
    params: Params,
    blocks: Vec<Block>,
    /// Verified in place of an unknown account's hash.
    unknown: PasswordHash,
}

impl Hasher {
    pub(super) fn new(cost: HashCost) -> Result<Hasher, AccountsError> {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(Params::DEFAULT_OUTPUT_LEN))
            .ok()
            .filter(within_bounds)
            .ok_or_else(|| {
                AccountsError::Config(format!(
                    "accounts: {cost:?} is out of range: memory_kib is 8 a lane to {MEMORY_KIB_MAX}, passes 1 to \
                     {PASSES_MAX}, lanes 1 to {LANES_MAX}"
                ))
            })?;
        let params_string = ParamsString::try_from(&params).map_err(failed)?;
        let unknown = PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::default().into()),
            params: params_string,
            salt: Some(Salt::new(&random_salt()?).map_err(failed)?),
            hash: Some(Output::new(&[0; Params::DEFAULT_OUTPUT_LEN]).map_err(failed)?),
        };
        Ok(Hasher { blocks: vec![Block::new(); params.block_count()], params, unknown })
    }

    /// The PHC string of a password under a fresh salt.
    pub(super) fn hash(&mut self, password: &str) -> Result<String, AccountsError> {
        let salt = random_salt()?;
        let params = self.params.clone();
        let output = self.compute(password, &salt, params, Params::DEFAULT_OUTPUT_LEN)?;
        let hash = PasswordHash {
            salt: Some(Salt::new(&salt).map_err(failed)?),
            hash: Some(output),
            ..self.unknown.clone()
        };
        Ok(hash.to_string())
    }

    /// Whether the password gives this PHC string; `false`, after as much work, where there is none.
    pub(super) fn verify(&mut self, password: &str, phc: Option<&str>) -> Result<bool, AccountsError> {
        let stored = match phc {
            Some(phc) => PasswordHash::new(phc).map_err(unusable)?,
            None => self.unknown.clone(),
        };
        if stored.algorithm != ARGON2ID_IDENT || stored.version != Some(Version::default().into()) {
            return Err(AccountsError::StoredHash("it is not Argon2id, version 19".into()));
        }
        let params = Params::try_from(&stored).map_err(unusable)?;
        if !within_bounds(&params) {
            return Err(AccountsError::StoredHash("its cost is over the bound".into()));
        }
        let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else {
            return Err(AccountsError::StoredHash("salt or hash is missing".into()));
        };
        let computed = self.compute(password, salt, params, expected.len())?;
        // `Output` compares in constant time.
        Ok(&computed == expected && phc.is_some())
    }

    fn compute(
        &mut self,
        password: &str,
        salt: &[u8],
        params: Params,
        output_bytes: usize,
    ) -> Result<Output, AccountsError> {
        let blocks = params.block_count();
        if self.blocks.len() < blocks {
            self.blocks.resize(blocks, Block::new());
        }
        let mut output = [0; Output::MAX_LENGTH];
        let output = &mut output[..output_bytes];
        Argon2::new(Algorithm::Argon2id, Version::default(), params)
            .hash_password_into_with_memory(password.as_bytes(), salt, output, &mut self.blocks[..blocks])
            .map_err(failed)?;
        Output::new(output).map_err(failed)
    }
}

/// Whether a PHC string names this very cost.
pub(super) fn has_cost(phc: &str, cost: HashCost) -> bool {
    let params = PasswordHash::new(phc).ok().and_then(|stored| Params::try_from(&stored).ok());
    params.is_some_and(|params| {
        (params.m_cost(), params.t_cost(), params.p_cost()) == (cost.memory_kib, cost.passes, cost.lanes)
    })
}

fn within_bounds(params: &Params) -> bool {
    params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= PASSES_MAX && params.p_cost() <= LANES_MAX
}

fn random_salt() -> Result<[u8; 16], AccountsError> {
    try_generate_salt().map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> AccountsError {
    AccountsError::Hash(error.to_string())
}

fn unusable(error: impl std::fmt::Display) -> AccountsError {
    AccountsError::StoredHash(error.to_string())
}
