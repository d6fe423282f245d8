//! The control plane: lets connections in, frees seats, serves the admin port, and ends the node in good order.

use std::net::{IpAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use governor::clock::MonotonicClock;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use vyuha_accounts::ThrownOut;
use vyuha_accounts::characters::{self, Newcomer};
use vyuha_accounts::game::{ASKS_MAX, Ask};
use vyuha_accounts::names::Names;
use vyuha_accounts::problem::{Code, Problem};
use vyuha_accounts::profiles;
use vyuha_game::Content;
use vyuha_gateway::accounts::Accounts;
use vyuha_gateway::play::WebPlayer;
use vyuha_gateway::{Gateway, Metrics, MoveOrder};
use vyuha_net::tls::{Identity, ServerConfig, Session};
use vyuha_protocol::ErrorCode;
use vyuha_store::sql::Sql;
use vyuha_store::{Durability, Handle, JournalStats, PersistenceStats};

use crate::addresses::Addresses;
use crate::api::ApiPort;
use crate::certificate;
use crate::client_stream::ClientStream;
use crate::config::Config;
use crate::doors::{Departures, Notice, SeatChange, ShardDoors};
use crate::events::{About, Events, What, Writer};
use crate::hot::{BehindSince, Sharing};
use crate::knocking::Door;
use crate::placement::ZoneTable;
use crate::port::PortThread;
use crate::scan::Scanner;
use crate::seats::Seats;
use crate::shards::{Host, dead_shard, join_hosts};
use crate::sign_in::{FAREWELL_TIMEOUT, SignIn};
use crate::zones;

/// Clients that are told at once that there is no place; more of them are closed without a word.
const FAREWELLS_MAX: usize = 256;
/// The same of those whose address has connected too often.
const FAREWELLS_TO_MANY_MAX: usize = 32;
/// How long to wait before a shard whose door is full is asked again.
const KICK_AGAIN: Duration = Duration::from_millis(10);
/// How long to wait before a database that is away is asked again.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// How long shards may take to let everyone go.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The control plane's own share of the node.
pub struct Control {
    /// How the node is configured.
    pub config: Config,
    /// The world that is played.
    pub content: Arc<Content>,
    /// The node's figures.
    pub metrics: Arc<Metrics>,
    /// Journal and database.
    pub durability: Durability,
    /// The way to the shards.
    pub doors: ShardDoors,
    /// Where the zones are and what they cost.
    pub zones: Arc<ZoneTable>,
    /// Orders to move zones, from the admin port.
    pub move_orders: mpsc::Receiver<MoveOrder>,
    /// What nodes tell each other.
    pub sharing: Sharing,
    /// Where it hears of those who left.
    pub departures: Departures,
    /// Tells the shards that the node is to end.
    pub draining: Arc<AtomicBool>,
    /// The shards' threads.
    pub hosts: Vec<Host>,
    /// Why the node cannot go on, once there is a reason.
    pub failure: watch::Receiver<Option<String>>,
    /// Password hashing.
    pub accounts: Accounts,
    /// The way to the database for account services.
    pub sql: Sql,
    /// What characters may be called.
    pub names: Names,
    /// Where they begin.
    pub newcomer: Newcomer,
    /// The HTTP API, where it is on.
    pub api: Option<ApiPort>,
    /// Client assets, if they are served.
    pub assets: Option<PortThread>,
    /// The port of those who play in a browser.
    pub web: PortThread,
    /// What searches for doubled items.
    pub scanner: Scanner,
    /// The log of operations.
    pub events: Events,
    /// What writes it.
    pub writer: Writer,
    /// The certificate, where clients speak TLS.
    pub identity: Option<Arc<Identity>>,
    /// Who came by it.
    pub web_players: mpsc::Receiver<WebPlayer>,
}

impl Control {
    /// Runs the control plane until it is told to stop, or the node cannot go on; then ends everything in order.
    ///
    /// # Errors
    /// Why it could not go on, or what was not closed in order.
    pub async fn run(
        self,
        listener: TcpListener,
        admin: TcpListener,
        gateway: Gateway,
        mut stopping: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let Control {
            config,
            content,
            metrics,
            durability,
            doors,
            zones,
            move_orders,
            sharing,
            departures,
            draining,
            hosts,
            mut failure,
            accounts,
            sql,
            names,
            newcomer,
            mut api,
            assets,
            web,
            scanner,
            events,
            writer,
            identity,
            web_players,
        } = self;
        let seats = Rc::new(Seats::default());
        let store = durability.handle();
        let durability = Rc::new(durability);
        let doors = Rc::new(doors);
        let (stop_writing, writing_stopped) = oneshot::channel();
        let writing = tokio::task::spawn_local(writer.run(writing_stopped));
        let moving = tokio::task::spawn_local(zones::move_zones(
            config.clone(),
            zones,
            doors.clone(),
            events.clone(),
            move_orders,
        ));
        let shared = sharing.start(&doors, &metrics);
        let (stop_sign_in, sign_in_stopping) = watch::channel(false);
        let farewells_max = FAREWELLS_MAX as u32;
        let farewells = Arc::new(Semaphore::new(FAREWELLS_MAX));
        let door = Door::new(config.net.handshakes_max as usize);
        let sign_in = Rc::new(SignIn {
            content,
            accounts,
            api: api.as_ref().map(|api| api.service.clone()),
            store: store.clone(),
            sql,
            names,
            newcomer,
            seats: seats.clone(),
            doors,
            metrics: metrics.clone(),
            events: events.clone(),
            open_registration: config.accounts.open_registration,
            handshake_timeout: config.net.handshake_timeout,
            idle_timeout: config.net.idle_timeout,
            frames_per_second_max: config.net.frames_per_second_max,
            players_max: config.net.connections_max as usize,
            stopping: sign_in_stopping,
        });
        let thrown_out = api.as_mut().and_then(|api| api.thrown_out.take());
        let throwing_out =
            thrown_out.map(|thrown_out| tokio::task::spawn_local(throw_out(thrown_out, sign_in.clone())));
        let asks = api.as_mut().and_then(|api| api.asks.take());
        let (owing, owed) = mpsc::channel(ASKS_MAX);
        let answering = asks.map(|asks| tokio::task::spawn_local(answer(asks, owing, sign_in.clone())));
        let barring = tokio::task::spawn_local(tell_debts(owed, sign_in.clone()));
        let (end, ended) = watch::channel(false);
        let accepting = tokio::task::spawn_local(accept(
            tokio::net::TcpListener::from_std(listener)?,
            web_players,
            sign_in,
            door.clone(),
            farewells.clone(),
            Arc::new(Addresses::new(&config.address, MonotonicClock)),
            identity.as_ref().map(Identity::players),
        ));
        let leaving = tokio::task::spawn_local(keep_seats(
            departures,
            seats,
            store.clone(),
            events.clone(),
            Rc::downgrade(&durability),
        ));
        let renewing = match identity {
            Some(identity) => {
                let hang_ups = certificate::hang_ups()?;
                Some(tokio::task::spawn_local(certificate::renew(identity, hang_ups, metrics.clone())))
            }
            None => None,
        };
        let figures = tokio::task::spawn_local(keep_figures(
            metrics,
            store,
            Rc::downgrade(&durability),
            shared.events_behind_since.clone(),
        ));
        let mut console_ended = ended.clone();
        let console = tokio::task::spawn_local(vyuha_gateway::serve(
            tokio::net::TcpListener::from_std(admin)?,
            gateway,
            async move {
                let _ = console_ended.wait_for(|ended| *ended).await;
            },
        ));

        events.note(What::NodeStarted, About::default(), crate::VERSION);
        let reason = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => None,
            failed = failure.wait_for(Option::is_some) => failed.ok().and_then(|reason| reason.clone()),
            name = dead_shard(&hosts) => Some(format!("{name} ended by itself")),
        };
        if let Some(reason) = &reason {
            tracing::error!(%reason, "the node cannot go on");
            events.note(What::NodeEnding, About::default(), reason.clone());
        } else {
            tracing::info!("ending: players are told and saved");
            events.note(What::NodeEnding, About::default(), "");
        }
        accepting.abort();
        moving.abort();
        let _ = stop_sign_in.send(true);
        draining.store(true, Ordering::Relaxed);
        let drained =
            tokio::time::timeout(DRAIN_TIMEOUT, tokio::task::spawn_blocking(move || join_hosts(hosts))).await;
        // Whoever was signing in is told; one who does not listen is waited for for a moment.
        let told = async {
            door.empty().await;
            drop(farewells.acquire_many(farewells_max).await);
        };
        let _ = tokio::time::timeout(FAREWELL_TIMEOUT, told).await;
        // Whom the shards let go is being told.
        let web = tokio::task::spawn_blocking(move || web.end()).await?;
        let api = tokio::task::spawn_blocking(move || api.map_or(Ok(()), |api| api.thread.end())).await?;
        let assets = tokio::task::spawn_blocking(move || assets.map_or(Ok(()), PortThread::end)).await?;
        figures.abort();
        // It reads what is closed next.
        tokio::task::spawn_blocking(move || drop(scanner)).await?;
        shared.end().await;
        if let Some(renewing) = renewing {
            renewing.abort();
        }
        if let Some(throwing_out) = throwing_out {
            throwing_out.abort();
        }
        if let Some(answering) = answering {
            answering.abort();
        }
        barring.abort();
        // The last departures free seats that nobody waits for any more.
        leaving.abort();
        // The journal ends once nobody writes into it any more.
        drop(stop_writing);
        writing.await?;
        let closed = match Rc::into_inner(durability) {
            Some(durability) if drained.is_ok() => tokio::task::spawn_blocking(move || durability.shutdown())
                .await?
                .context("the data was not closed in order"),
            _ => Ok(()),
        };
        let _ = end.send(true);
        console.await??;
        if let Some(reason) = reason {
            bail!("the node stopped: {reason}");
        }
        drained.context(
            "the shards did not let everyone go in time; what was acknowledged is in the journal",
        )???;
        closed?;
        web?;
        api?;
        assets
    }
}

/// Lets connections in until it is dropped.
async fn accept(
    listener: tokio::net::TcpListener,
    mut web_players: mpsc::Receiver<WebPlayer>,
    sign_in: Rc<SignIn>,
    door: Rc<Door>,
    farewells: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    tls: Option<Arc<ServerConfig>>,
) {
    let farewells_to_many = Arc::new(Semaphore::new(FAREWELLS_TO_MANY_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted.and_then(|(stream, address)| {
                let session = tls.clone().map(Session::new).transpose().map_err(std::io::Error::other)?;
                Ok((ClientStream::new(stream, session.map(Box::new)), address.ip()))
            }),
            // A browser's TLS ends at the web port.
            Some(player) = web_players.recv() => as_client(player),
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: waiting lets some connections end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let sign_in = sign_in.clone();
        let is_banned = sign_in.api.as_ref().is_some_and(|api| api.is_banned(address));
        let (code, farewells) = match addresses.connect(address) {
            _ if is_banned => (ErrorCode::AddressBanned, &farewells_to_many),
            Some(place) => match door.knock() {
                Some(knocker) => {
                    let farewells = farewells.clone();
                    tokio::task::spawn_local(async move {
                        let over = sign_in.welcome(stream, &place, &knocker).await;
                        drop((place, knocker));
                        let Some((stream, code)) = over else { return };
                        match farewells.try_acquire() {
                            Ok(_farewell) => sign_in.say_farewell(stream, code).await,
                            Err(_) => sign_in.drop_connection(code),
                        }
                    });
                    continue;
                }
                None => (ErrorCode::ServerFull, &farewells),
            },
            None => (ErrorCode::AddressLimit, &farewells_to_many),
        };
        sign_in.metrics.connections.inc();
        match farewells.clone().try_acquire_owned() {
            Ok(farewell) => {
                tokio::task::spawn_local(async move {
                    sign_in.say_farewell(stream, code).await;
                    drop(farewell);
                });
            }
            Err(_) => sign_in.drop_connection(code),
        }
    }
}

/// A browser's Unix socket in the type of all others, and where the browser is: what is called on the socket, to receive,
/// to send, to shut down, is the same for both kinds.
fn as_client(player: WebPlayer) -> std::io::Result<(ClientStream, IpAddr)> {
    let stream = TcpStream::from_std(std::net::TcpStream::from(OwnedFd::from(player.socket)))?;
    Ok((ClientStream::new(stream, None), player.address))
}

/// Keeps the seats as the shards say; those of who left are freed once all they did is in the database.
async fn keep_seats(
    mut departures: Departures,
    seats: Rc<Seats>,
    store: Handle,
    events: Events,
    durability: Weak<Durability>,
) {
    loop {
        let notices = departures.next().await;
        if notices.is_empty() {
            return;
        }
        let mut left = Vec::new();
        for Notice { account, change } in notices {
            match change {
                SeatChange::Left => {
                    events.note(What::Left, About { account, ..About::default() }, "");
                    left.push(account);
                }
                SeatChange::Confirmed(ticket) => seats.confirm(account, ticket),
                SeatChange::Moved { shard, stay } => seats.moved(account, shard, stay),
            }
        }
        if left.is_empty() {
            continue;
        }
        let Some(durable_seq) = durability.upgrade().map(|durability| durability.durable_seq()) else {
            return;
        };
        let (seats, store) = (seats.clone(), store.clone());
        tokio::task::spawn_local(async move {
            // A store that has stopped ends the node: nobody signs in any more.
            if store.wait_applied(durable_seq).await.is_ok() {
                for account in left {
                    seats.free(account);
                }
            }
        });
    }
}

/// Ends the sessions of accounts that staff suspended or kicked.
async fn throw_out(mut accounts: mpsc::Receiver<ThrownOut>, sign_in: Rc<SignIn>) {
    while let Some(thrown_out) = accounts.recv().await {
        let (account, code, why) = match thrown_out {
            ThrownOut::Suspended(account) => {
                (account, ErrorCode::AccountSuspended, "its account was suspended")
            }
            ThrownOut::Kicked(account) => (account, ErrorCode::Kicked, "staff ended its session"),
        };
        sign_in.events.note(What::ThrownOut, About { account, ..About::default() }, why);
        kick(&sign_in, account, code).await;
    }
}

/// Answers what the API asks of the game.
async fn answer(mut asks: mpsc::Receiver<Ask>, owing: mpsc::Sender<(i64, i64)>, sign_in: Rc<SignIn>) {
    while let Some(ask) = asks.recv().await {
        match ask {
            // Whoever asked may have gone.
            Ask::Playing { account, answer } => drop(answer.send(sign_in.seats.character_of(account))),
            Ask::Debt { account, profile } => {
                if owing.try_send((account, profile)).is_err() {
                    tracing::error!(account, profile, "a debt is known to who plays when they enter again");
                }
            }
            Ask::Frozen { account, characters } => {
                let playing = sign_in.seats.character_of(account);
                if playing.is_some_and(|character| characters.contains(&character)) {
                    let about = About { account, ..About::default() };
                    sign_in.events.note(What::ThrownOut, about, "its profile was frozen");
                    kick(&sign_in, account, ErrorCode::ProfileFrozen).await;
                }
            }
        }
    }
}

/// Tells shards whether profiles owe whose debt has changed. What holds is read when it is told, one after the other, so that the
/// last word is the last that is so.
async fn tell_debts(mut owing: mpsc::Receiver<(i64, i64)>, sign_in: Rc<SignIn>) {
    while let Some((account, profile)) = owing.recv().await {
        // Who is about to enter may have been read before: they are told when they play.
        while let Some(character) = sign_in.seats.character_of(account) {
            let Some(shard) = sign_in.seats.shard_of(account) else {
                tokio::time::sleep(KICK_AGAIN).await;
                continue;
            };
            let now_ms = crate::clock::unix_ms();
            let read = sign_in.sql.transaction(move |tx| {
                let played = characters::find(tx, account, character, now_ms)?.profile;
                Ok::<_, Problem>(
                    (played == profile).then_some(profiles::find(tx, account, profile, now_ms)?.debt),
                )
            });
            match read.await {
                Ok(Some(debt)) if !sign_in.doors.set_owes(shard, account, debt > 0) => {}
                // What failed is in the log.
                Err(problem) if problem.code == Code::Unavailable => tokio::time::sleep(READ_AGAIN).await,
                Ok(_) | Err(_) => break,
            }
            tokio::time::sleep(KICK_AGAIN).await;
        }
    }
}

/// Ends the session that plays with an account, if there is one.
async fn kick(sign_in: &SignIn, account: i64, code: ErrorCode) {
    // Its shard may change, or be too busy to hear, until it is asked.
    while let Some(shard) = sign_in.seats.shard_of(account)
        && !sign_in.doors.kick(shard, account, code)
    {
        tokio::time::sleep(KICK_AGAIN).await;
    }
}

/// Copies the figures of journal, database and bus of events into the metrics, once a second.
async fn keep_figures(
    metrics: Arc<Metrics>,
    store: Handle,
    durability: Weak<Durability>,
    events_behind_since: BehindSince,
) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let mut journal_before = JournalStats::default();
    let mut store_before = PersistenceStats::default();
    loop {
        every.tick().await;
        let Some(journal) = durability.upgrade().map(|durability| durability.journal_stats()) else { return };
        let stored = store.stats();
        metrics.journal_durable_seq.set(journal.durable_seq);
        metrics.journal_syncs.inc_by(journal.frames - journal_before.frames);
        let sync_time = Duration::from_nanos(journal.write_ns - journal_before.write_ns);
        metrics.journal_sync_seconds.inc_by(sync_time.as_secs_f64());
        metrics.store_applied_seq.set(stored.applied_seq);
        metrics.store_lag_frames.set(journal.durable_seq.saturating_sub(stored.applied_seq));
        metrics.store_lag_bytes.set(stored.lag_bytes);
        metrics.store_lag_seconds.set(stored.lag.as_secs_f64());
        metrics.journal_over_bound.set(u64::from(journal.is_over_bound));
        metrics.store_transactions.inc_by(stored.transactions - store_before.transactions);
        metrics.store_transaction_rows.set(stored.transaction_rows);
        metrics.store_breaker.set(stored.breaker as u64);
        metrics.store_rows.inc_by(stored.rows - store_before.rows);
        metrics.store_errors.inc_by(stored.errors - store_before.errors);
        let events_lag = events_behind_since.get().map_or(Duration::ZERO, |since| since.elapsed());
        metrics.hot.events_lag_seconds.set(events_lag.as_secs_f64());
        (journal_before, store_before) = (journal, stored);
    }
}
