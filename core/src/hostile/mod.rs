//! Who is nearest of another team, for many that ask at once.
//!
//! Those that ask one after another from a cell or two share the candidates around them: these are laid out once, in
//! blocks, with their places rounded to a grain, and each asker looks at whole groups of lanes without a branch.
//! The grain's error is known: where it could matter, exact places are compared, so that answers are exact. It
//! never sorts: askers in cell order, as rules have them, are the quick ones.

mod block;
mod scan;

use vyuha_protocol::{CellCoord, EntityId, Pos};

use crate::batch::Circle;
use crate::history::Moment;
use crate::query::{cells_between, distance_squared_to_cell};

use block::{BLOCK, Block, Rounding, answer, fill, fill_from_cell};

/// One who looks for the nearest of another team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeker {
    /// Where it is and how far it looks.
    pub circle: Circle,
    /// Its own team.
    pub team: u8,
}

type Found = Option<(EntityId, Pos)>;

/// Cells side by side whose askers share candidates. Neighbours look at the same cells for the most part; but the more
/// candidates there are, the longer is each one's search.
const RUN_CELLS: u16 = 2;

/// Those that ask one after another from some cells side by side.
struct Run {
    /// The westernmost, and how many they may be.
    cell: CellCoord,
    cells: u16,
    /// The rectangle in which they stand.
    low: Pos,
    high: Pos,
    /// The largest of their radii.
    radius_units: u32,
    /// Their team, if all have the same.
    team: Option<u8>,
    length: usize,
}

impl Moment<'_> {
    /// By seeker, the nearest in its circle that is of another team, and where it is; of several equally near
    /// ones the one with the lowest id. It is quickest for seekers in cell order.
    pub fn nearest_hostiles(&self, seekers: &[Seeker], out: &mut Vec<Option<(EntityId, Pos)>>) {
        out.clear();
        out.resize(seekers.len(), None);
        let mut block = Block::default();
        answer_all(*self, seekers, out, RUN_CELLS, &mut block);
    }
}

/// Answers those of so many cells together.
fn answer_all(moment: Moment<'_>, seekers: &[Seeker], out: &mut [Found], cells: u16, block: &mut Block) {
    let (mut seekers, mut out) = (seekers, out);
    while !seekers.is_empty() {
        let run = Run::of_first(moment, seekers, cells);
        let (askers, answers);
        (askers, seekers) = seekers.split_at(run.length);
        (answers, out) = out.split_at_mut(run.length);
        if moment.holds(askers[0].circle.centre) {
            run.answer(moment, askers, answers, block);
        }
    }
}

impl Run {
    /// Of a list with at least one. All of them are on the map, or all ask from one cell outside.
    #[inline(always)]
    fn of_first(moment: Moment<'_>, seekers: &[Seeker], cells: u16) -> Run {
        let Seeker { circle: Circle { centre, radius_units }, team } = seekers[0];
        let mut run = Run {
            cell: centre.cell(),
            cells: if moment.holds(centre) { cells.min(moment.grid.cells.x - centre.cell().x) } else { 1 },
            low: centre,
            high: centre,
            radius_units,
            team: Some(team),
            length: 0,
        };
        for Seeker { circle: Circle { centre, radius_units }, team } in seekers {
            let cell = centre.cell();
            if cell.y != run.cell.y || cell.x.wrapping_sub(run.cell.x) >= run.cells {
                break;
            }
            run.low = Pos { x: run.low.x.min(centre.x), y: run.low.y.min(centre.y) };
            run.high = Pos { x: run.high.x.max(centre.x), y: run.high.y.max(centre.y) };
            run.radius_units = run.radius_units.max(*radius_units);
            run.team = run.team.filter(|all| all == team);
            run.length += 1;
        }
        run
    }

    fn answer(&self, moment: Moment<'_>, seekers: &[Seeker], out: &mut [Found], block: &mut Block) {
        let (simd, radius) = (moment.zone.simd, self.radius_units);
        let low = Pos { x: self.low.x.saturating_sub(radius), y: self.low.y.saturating_sub(radius) };
        let high = Pos { x: self.high.x.saturating_add(radius), y: self.high.y.saturating_add(radius) };
        let rounding = Rounding::new(Pos::from_cell(self.cell, 0), radius);
        let sieve = rounding.sieve(low, high, self.team);
        if fill(simd, block, moment, low, high, sieve) {
            answer(simd, block, moment, seekers, rounding, None, out);
            return;
        }
        if self.cells > 1 {
            answer_all(moment, seekers, out, 1, block);
            return;
        }
        // A crowd: cell by cell, the own one first, because what is found there spares most of the others.
        let others = cells_between(moment.grid, low, high).filter(|&cell| cell != self.cell);
        for cell in std::iter::once(self.cell).chain(others) {
            if !seekers.iter().zip(&*out).any(|(seeker, found)| reaches(seeker, found, cell)) {
                continue;
            }
            let rows = moment.rows(cell);
            for begin in rows.clone().step_by(BLOCK) {
                let rows = begin..rows.end.min(begin + BLOCK);
                fill_from_cell(simd, block, moment, cell, rows, sieve);
                answer(simd, block, moment, seekers, rounding, Some(cell), out);
            }
        }
    }
}

/// Whether a seeker can find somebody better in a cell.
#[inline(always)]
fn reaches(seeker: &Seeker, found: &Found, cell: CellCoord) -> bool {
    distance_squared_to_cell(seeker.circle.centre, cell) <= bound_of(seeker, found).0
}

/// What is to be beaten: the square of the distance, and of equally near ones the id.
#[inline(always)]
fn bound_of(seeker: &Seeker, found: &Found) -> (u64, EntityId) {
    match found {
        None => (u64::from(seeker.circle.radius_units).pow(2), EntityId(u32::MAX)),
        Some((id, pos)) => (pos.distance_squared(seeker.circle.centre), *id),
    }
}
