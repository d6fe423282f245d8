//! How two traders deal: they meet at their zone's market, each offers some of what it carries, and both confirm what both offer.

use rand::RngExt as _;
use rand_pcg::Pcg32;
use vyuha_net::client::{ClientCore, Event, SendError};
use vyuha_protocol::message::ItemSlot;
use vyuha_protocol::units::metres;
use vyuha_protocol::{EntityId, ErrorCode, Pos, RequestId};

use crate::bot::SECOND_NS;
use crate::inventory::{Book, InFlight, Stack};

/// How near to the market's place a trader stands when it deals: two of them are within reach of each other.
const STALL_UNITS: u32 = metres(1);
/// How long the way to the market may take.
const WAY_NS_MAX: u64 = 30 * SECOND_NS;
/// How long another is waited for, and how long a trade may take.
const DEAL_NS_MAX: u64 = 8 * SECOND_NS;

/// Where the traders of a zone meet.
#[derive(Debug, Clone, Copy)]
pub struct Market {
    /// The place.
    pub place: Pos,
    /// Who stands there and waits for another.
    pub waiting: Option<EntityId>,
}

/// A trader's way through one deal.
#[derive(Debug)]
pub struct Deal {
    stage: Stage,
    until_ns: u64,
    /// Who asks for a trade.
    asked_by: Option<EntityId>,
    trade: Option<Trade>,
    offered: bool,
    /// The revision that it confirmed for good.
    confirmed: Option<u32>,
    cancels: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Going,
    Waiting,
    Trading,
}

/// A trade as the server told it last.
#[derive(Debug, Clone, Copy)]
struct Trade {
    revision: u32,
    yours: Option<Stack>,
    theirs: Option<Stack>,
    your_step: u8,
    their_step: u8,
}

/// What a trader does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes to the market's place.
    Walk,
    /// It stands and waits.
    Stand,
    /// It made a request.
    Asked(RequestId),
    /// The deal is over.
    Over,
}

impl Deal {
    /// It sets out for the market.
    pub fn begin(now_ns: u64) -> Deal {
        Deal {
            stage: Stage::Going,
            until_ns: now_ns + WAY_NS_MAX,
            asked_by: None,
            trade: None,
            offered: false,
            confirmed: None,
            cancels: false,
        }
    }

    /// Takes what the server says of trades. `false` if the deal is over.
    pub fn hear(&mut self, event: &Event, book: &mut Book, now_ns: u64) -> Result<bool, String> {
        match event {
            Event::TradeAsked { entity, .. } => self.asked_by = Some(*entity),
            Event::TradeChanged { revision, yours, theirs, your_step, their_step, .. } => {
                if self.stage != Stage::Trading {
                    self.until_ns = now_ns + DEAL_NS_MAX;
                }
                self.stage = Stage::Trading;
                let (revision, your_step, their_step) = (*revision, *your_step, *their_step);
                let (yours, theirs) = (offered(yours)?, offered(theirs)?);
                self.trade = Some(Trade { revision, yours, theirs, your_step, their_step });
                if self.confirmed.take_if(|confirmed| *confirmed != revision).is_some() {
                    // What was confirmed does not stand any more.
                    book.refused();
                }
            }
            Event::TradeDone { slots } => {
                book.traded(slots).map_err(|mismatch| mismatch.to_string())?;
                return Ok(false);
            }
            Event::TradeEnded { .. } => {
                if self.confirmed.is_some() {
                    book.refused();
                }
                return Ok(false);
            }
            _ => {}
        }
        Ok(true)
    }

    /// A request of the deal was refused. `false` if the deal is over.
    pub fn refused(&mut self, code: Option<ErrorCode>) -> bool {
        match (self.stage, code) {
            (Stage::Trading, Some(ErrorCode::TradeMoved)) => true,
            // How it ended is still to be told.
            (Stage::Trading, Some(ErrorCode::NoTrade)) => {
                self.trade = None;
                true
            }
            (Stage::Trading, _) => {
                self.confirmed = None;
                self.cancels = true;
                true
            }
            _ => false,
        }
    }

    /// What it does next; to be asked when no request is open.
    pub fn next(
        &mut self,
        core: &mut ClientCore,
        book: &mut Book,
        (own, pos): (EntityId, Pos),
        market: &mut Market,
        rng: &mut Pcg32,
        now_ns: u64,
    ) -> Result<Next, SendError> {
        let late = now_ns >= self.until_ns;
        if self.stage != Stage::Trading {
            if late {
                market.waiting = market.waiting.filter(|waiting| *waiting != own);
                return Ok(Next::Over);
            }
            if let Some(asker) = self.asked_by.take() {
                return core.accept_trade(asker).map(Next::Asked);
            }
            if self.stage == Stage::Waiting {
                return Ok(Next::Stand);
            }
            if pos.distance_squared(market.place) > u64::from(STALL_UNITS).pow(2) {
                return Ok(Next::Walk);
            }
            self.stage = Stage::Waiting;
            self.until_ns = now_ns + DEAL_NS_MAX;
            return match market.waiting.replace(own).filter(|other| *other != own) {
                Some(other) => {
                    market.waiting = None;
                    core.ask_trade(other).map(Next::Asked)
                }
                None => Ok(Next::Stand),
            };
        }
        let Some(trade) = self.trade else { return Ok(if late { Next::Over } else { Next::Stand }) };
        if late || self.cancels {
            self.cancels = false;
            self.until_ns = now_ns + DEAL_NS_MAX;
            return core.cancel_trade().map(Next::Asked);
        }
        if !self.offered {
            self.offered = true;
            let held = book.held().count();
            if held == 0 {
                return core.cancel_trade().map(Next::Asked);
            }
            let chosen = book.held().nth(rng.random_range(0..held));
            let Some((slot, stack)) = chosen else { return Ok(Next::Stand) };
            return core.offer(slot, rng.random_range(1..=stack.count)).map(Next::Asked);
        }
        let (Some(gives), Some(gets)) = (trade.yours, trade.theirs) else { return Ok(Next::Stand) };
        match (trade.your_step, trade.their_step) {
            (0, _) => core.confirm_trade(trade.revision, 1).map(Next::Asked),
            (1, 1..) => {
                let request = core.confirm_trade(trade.revision, 2)?;
                book.ask(InFlight::Trade { gives, gets });
                self.confirmed = Some(trade.revision);
                Ok(Next::Asked(request))
            }
            _ => Ok(Next::Stand),
        }
    }
}

/// The one stack that bots offer, if anything is.
fn offered(slots: &[ItemSlot]) -> Result<Option<Stack>, String> {
    match slots {
        [] => Ok(None),
        [slot] => Ok(Some(Stack { kind: slot.kind, count: slot.count })),
        _ => Err(format!("{} stacks are offered where each offers one", slots.len())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use vyuha_net::client::ClientContent;
    use vyuha_protocol::frame::{CLIENT_PAYLOAD_BYTES_MAX, first_frame};
    use vyuha_protocol::message::{ClientMessage, InventorySlot};

    use super::*;

    const OWN: EntityId = EntityId(7);
    const OTHER: EntityId = EntityId(8);

    struct Trader {
        deal: Deal,
        core: ClientCore,
        book: Book,
        rng: Pcg32,
        now_ns: u64,
    }

    impl Trader {
        fn new() -> Trader {
            let content = ClientContent { hash: [0; 32], maps: HashMap::new() };
            let mut book = Book::default();
            book.entered(&[InventorySlot { slot: 3, kind: 4, count: 1 }], &[]).unwrap();
            let core = ClientCore::new(Arc::new(content));
            Trader { deal: Deal::begin(0), core, book, rng: Pcg32::new(1, 1), now_ns: 0 }
        }

        /// What it does next at a distance from the market, in words.
        fn next(&mut self, market: &mut Market, metres_off: u32) -> String {
            let pos = Pos { x: market.place.x + metres(metres_off), y: market.place.y };
            let next = self.deal.next(
                &mut self.core,
                &mut self.book,
                (OWN, pos),
                market,
                &mut self.rng,
                self.now_ns,
            );
            let next = next.unwrap();
            if !matches!(next, Next::Asked(_)) {
                return format!("{next:?}");
            }
            let sent = self.core.outgoing().to_vec();
            self.core.mark_sent(sent.len());
            let frame = first_frame(&sent, CLIENT_PAYLOAD_BYTES_MAX).unwrap().unwrap();
            match ClientMessage::decode(frame.kind, frame.payload).unwrap() {
                ClientMessage::AskTrade(m) => format!("asks {}", m.entity),
                ClientMessage::AcceptTrade(m) => format!("accepts {}", m.entity),
                ClientMessage::Offer(m) => format!("offers {} of {}", m.count, m.slot),
                ClientMessage::ConfirmTrade(m) => format!("confirms step {} of {}", m.step, m.revision),
                ClientMessage::CancelTrade(_) => "cancels".to_owned(),
                other => panic!("{} is no part of a deal", other.name()),
            }
        }

        fn hear(&mut self, event: &Event) -> bool {
            self.deal.hear(event, &mut self.book, self.now_ns).unwrap()
        }

        fn stands(&mut self, revision: u32, offers: [bool; 2], [your_step, their_step]: [u8; 2]) -> bool {
            let slot = |slot, kind, count| ItemSlot { place: 0, slot, kind, count, wear: 0, item: 1 };
            let yours = if offers[0] { vec![slot(3, 4, 1)] } else { vec![] };
            let theirs = if offers[1] { vec![slot(9, 5, 2)] } else { vec![] };
            self.hear(&Event::TradeChanged { partner: OTHER, revision, yours, theirs, your_step, their_step })
        }
    }

    fn market(waiting: Option<EntityId>) -> Market {
        Market { place: Pos { x: 100_000, y: 100_000 }, waiting }
    }

    #[test]
    fn the_first_at_the_market_waits_and_the_second_asks() {
        let (mut first, mut place) = (Trader::new(), market(None));
        assert_eq!(first.next(&mut place, 5), "Walk");
        assert_eq!(first.next(&mut place, 0), "Stand");
        assert_eq!(place.waiting, Some(OWN));
        let mut second = Trader::new();
        place.waiting = Some(OTHER);
        assert_eq!(second.next(&mut place, 0), "asks 8");
        assert_eq!(place.waiting, None);
        assert!(first.hear(&Event::TradeAsked { entity: OTHER, name: "Abe".into() }));
        assert_eq!(first.next(&mut place, 0), "accepts 8");
        first.now_ns += DEAL_NS_MAX;
        place.waiting = Some(OWN);
        assert_eq!((first.next(&mut place, 0), place.waiting), ("Over".to_owned(), None));
    }

    #[test]
    fn both_offer_once_and_confirm_twice() {
        let (mut trader, mut place) = (Trader::new(), market(Some(OTHER)));
        trader.next(&mut place, 0);
        trader.stands(1, [false, false], [0, 0]);
        assert_eq!(trader.next(&mut place, 0), "offers 1 of 3");
        trader.stands(2, [true, false], [0, 0]);
        assert_eq!(trader.next(&mut place, 0), "Stand");
        trader.stands(3, [true, true], [0, 0]);
        assert_eq!(trader.next(&mut place, 0), "confirms step 1 of 3");
        trader.stands(3, [true, true], [1, 0]);
        assert_eq!(trader.next(&mut place, 0), "Stand");
        trader.stands(3, [true, true], [1, 1]);
        assert_eq!(trader.next(&mut place, 0), "confirms step 2 of 3");
        let gives = Stack { kind: 4, count: 1 };
        let asked = Some(InFlight::Trade { gives, gets: Stack { kind: 5, count: 2 } });
        assert_eq!(trader.book.in_flight, asked);
        // The other's word may cross its own; only another revision takes back what it confirmed.
        trader.stands(3, [true, true], [1, 2]);
        assert_eq!(trader.book.in_flight, asked);
        let mut other = ItemSlot { place: 0, slot: 3, kind: 5, count: 2, wear: 0, item: 2 };
        assert!(!trader.hear(&Event::TradeDone { slots: vec![other] }));
        assert_eq!((trader.book.in_flight, trader.book.traded), (None, 1));
        other.count = 3;
        assert!(trader.deal.hear(&Event::TradeDone { slots: vec![other] }, &mut trader.book, 0).is_err());
    }

    #[test]
    fn what_was_confirmed_is_taken_back_by_a_change_and_by_the_end() {
        for ends in [false, true] {
            let (mut trader, mut place) = (Trader::new(), market(Some(OTHER)));
            trader.next(&mut place, 0);
            trader.stands(1, [true, true], [1, 1]);
            trader.next(&mut place, 0);
            assert_eq!(trader.next(&mut place, 0), "confirms step 2 of 1");
            let goes_on = if ends {
                trader.hear(&Event::TradeEnded { code: None })
            } else {
                trader.stands(2, [true, true], [0, 0])
            };
            assert_eq!((goes_on, trader.book.in_flight), (!ends, None));
        }
    }

    #[test]
    fn a_trade_that_takes_too_long_or_is_refused_is_cancelled_and_its_end_awaited() {
        let (mut trader, mut place) = (Trader::new(), market(Some(OTHER)));
        trader.next(&mut place, 0);
        trader.stands(1, [false, false], [0, 0]);
        trader.next(&mut place, 0);
        assert!(trader.deal.refused(Some(ErrorCode::NotTradeable)));
        assert_eq!(trader.next(&mut place, 0), "cancels");
        trader.now_ns += DEAL_NS_MAX;
        assert_eq!(trader.next(&mut place, 0), "cancels");
        assert!(trader.deal.refused(Some(ErrorCode::NoTrade)));
        assert_eq!(trader.next(&mut place, 0), "Stand");
        trader.now_ns += DEAL_NS_MAX;
        assert_eq!(trader.next(&mut place, 0), "Over");
        assert!(!Deal::begin(0).refused(Some(ErrorCode::PartnerGone)));
    }
}
