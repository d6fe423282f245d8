//! The same changes as a server makes them that has no journal: when they happen, a statement for each row, a commit for each
//! save and each trade, and every answer waited for.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};
use vyuha_game::INVENTORY_SLOTS;
use vyuha_net::cpu::thread_time;

use super::world::People;

const ITEM_COLUMNS: &str = "id, kind, count, place, owner, slot, x, y, wear";
const LEDGER_COLUMNS: &str = "source, seq, idx, at_ms, reason, item, kind, count, from_place, from_owner, to_place, \
                              to_owner, counterparty";

/// Its one connection, with its statements prepared.
pub struct Peer {
    runtime: Runtime,
    prepared: Prepared,
    people: People,
    /// Saves and trades so far.
    done: i64,
}

/// What the peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The character's row, and each of its slots, a statement each.
    Saves,
    /// The character's row, and its slots in one statement.
    SavesAtOnce,
    /// Two items, two entries of the ledger.
    Trades,
}

/// Statements, prepared.
struct Prepared {
    client: Client,
    character: Statement,
    slot: Statement,
    slots: Statement,
    owner: Statement,
    ledger: Statement,
}

impl Peer {
    /// A peer that works on the rows of these people in a database.
    ///
    /// # Errors
    /// Where it cannot use the database.
    pub fn new(url: &str, people: People) -> anyhow::Result<Peer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let prepared =
            runtime.block_on(Prepared::connect(url)).context("the peer cannot use its database")?;
        Ok(Peer { runtime, prepared, people, done: 0 })
    }

    /// Does so much of some work, and says what processor time that took here.
    ///
    /// # Errors
    /// What the database says.
    pub fn run(&mut self, work: Work, times: u32) -> anyhow::Result<Duration> {
        let Peer { runtime, prepared, people, done } = self;
        let before = thread_time();
        runtime.block_on(async {
            for _ in 0..times {
                *done += 1;
                match work {
                    Work::Saves => prepared.save(*people, *done, false).await?,
                    Work::SavesAtOnce => prepared.save(*people, *done, true).await?,
                    Work::Trades => prepared.trade(*people, *done).await?,
                }
            }
            Ok::<_, tokio_postgres::Error>(())
        })?;
        Ok(thread_time().saturating_sub(before))
    }
}

impl Prepared {
    async fn connect(url: &str) -> Result<Prepared, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        // Its error is met by whoever uses the client.
        tokio::spawn(async { drop(connection.await) });
        let upsert = |rows: &str| {
            format!(
                "INSERT INTO item ({ITEM_COLUMNS}) {rows} ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, \
                 count = excluded.count, place = excluded.place, owner = excluded.owner, slot = excluded.slot, \
                 x = excluded.x, y = excluded.y, wear = excluded.wear"
            )
        };
        let arrays: Vec<String> = (1..=9).map(|n| format!("${n}::bigint[]")).collect();
        let marks = |count: u32| (1..=count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
        let prepare = |sql: String| {
            let client = &client;
            async move { client.prepare(&sql).await }
        };
        Ok(Prepared {
            character: prepare("UPDATE character SET zone = $2, x = $3, y = $4 WHERE id = $1".to_owned())
                .await?,
            slot: prepare(upsert(&format!("VALUES ({})", marks(9)))).await?,
            slots: prepare(upsert(&format!("SELECT * FROM unnest({})", arrays.join(", ")))).await?,
            owner: prepare("UPDATE item SET owner = $2, slot = $3 WHERE id = $1".to_owned()).await?,
            ledger: prepare(format!("INSERT INTO ledger ({LEDGER_COLUMNS}) VALUES ({})", marks(13))).await?,
            client,
        })
    }

    /// The whole of a character, as it is after it has walked and rearranged what it carries.
    async fn save(&self, people: People, number: i64, at_once: bool) -> Result<(), tokio_postgres::Error> {
        let row = people.character((number % i64::from(people.count)) as u32);
        let items = people.items((number % i64::from(people.count)) as u32);
        let turn = number / i64::from(people.count) + 1;
        let slots = INVENTORY_SLOTS as i64;
        let columns: Vec<[i64; 9]> = items
            .iter()
            .map(|item| {
                let slot = (item.slot + turn) % slots;
                [item.id, item.kind, item.count, item.place, item.owner, slot, item.x, item.y, item.wear]
            })
            .collect();
        self.client.batch_execute("BEGIN").await?;
        self.client.execute(&self.character, &[&row.id, &row.zone, &(row.x + turn), &row.y]).await?;
        if at_once {
            let arrays: Vec<Vec<i64>> =
                (0..9).map(|at| columns.iter().map(|column| column[at]).collect()).collect();
            let params: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| array as _).collect();
            self.client.execute(&self.slots, &params).await?;
        } else {
            for column in &columns {
                let params: Vec<&(dyn ToSql + Sync)> = column.iter().map(|value| value as _).collect();
                self.client.execute(&self.slot, &params).await?;
            }
        }
        self.client.batch_execute("COMMIT").await
    }

    /// Two who stand together give each other what they have in a slot.
    async fn trade(&self, people: People, number: i64) -> Result<(), tokio_postgres::Error> {
        let pairs = i64::from(people.count / 2);
        let (one, turn) = (number % pairs * 2, number / pairs);
        let (slot, is_back) = (turn % INVENTORY_SLOTS as i64, turn / INVENTORY_SLOTS as i64 % 2 == 1);
        let owners = [people.first + one, people.first + one + 1];
        let item = |of: usize| owners[of] * INVENTORY_SLOTS as i64 + slot;
        self.client.batch_execute("BEGIN").await?;
        for of in [0, 1] {
            let to = owners[if is_back { of } else { 1 - of }];
            self.client.execute(&self.owner, &[&item(of), &to, &slot]).await?;
        }
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at_ms = since_1970.as_millis() as i64;
        for of in [0, 1] {
            let (from, to) =
                if is_back { (owners[1 - of], owners[of]) } else { (owners[of], owners[1 - of]) };
            let (index, item) = (of as i64, item(of));
            let row: [&(dyn ToSql + Sync); 13] = [
                &1_i64, &number, &index, &at_ms, &8_i64, &item, &1_i64, &1_i64, &0_i64, &from, &0_i64, &to,
                &to,
            ];
            self.client.execute(&self.ledger, &row).await?;
        }
        self.client.batch_execute("COMMIT").await
    }
}
