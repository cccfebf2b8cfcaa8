//! Results as text.

use crate::results::{GoalResult, GroupResult, Row, Spread};
use crate::{Limit, Measure};

/// Prints the table of a group.
pub(crate) fn print(group: &GroupResult) {
    println!(
        "\n{} ({} operations, median of {} rounds)",
        group.title, group.operations, group.rounds
    );
    let first = if group.rows.iter().any(|row| row.value.is_some()) {
        "value"
    } else {
        "ops/s"
    };
    println!(
        "{:<44} {:>9} {:>6} {:>13} {:>8} {:>8} {:>9} {:>9} {:>7}",
        "", first, "ratio", "min..max", "p50 us", "p99 us", "client us", "redis us", "cmds"
    );
    for row in &group.rows {
        println!("{}", line(row));
    }
    for goal in &group.goals {
        println!("  {}", self::goal(goal));
    }
}

fn line(row: &Row) -> String {
    let rate = match (row.rate, row.value) {
        (Some(rate), _) => short(rate.median),
        (None, value) => median(value, 3),
    };
    format!(
        "{:<44} {:>9} {:>6} {:>13} {:>8} {:>8} {:>9} {:>9} {:>7}",
        row.name,
        rate,
        row.ratio
            .map_or_else(String::new, |ratio| factor(ratio.median)),
        row.ratio.map_or_else(String::new, range),
        median(row.p50_us, 1),
        median(row.p99_us, 1),
        decimal(row.client_us),
        decimal(row.server_us),
        decimal(row.commands),
    )
}

/// Says what a goal is and what was reached.
pub(crate) fn goal(goal: &GoalResult) -> String {
    let measure = match goal.measure {
        Measure::Rate => "rate",
        Measure::P50 => "p50",
        Measure::P99 => "p99",
        Measure::Value => "value",
    };
    let what = match &goal.to {
        Some(to) => format!("{measure} of {} / {to}", goal.case),
        None => format!("{measure} of {}", goal.case),
    };
    let limit = match goal.limit {
        Limit::AtLeast => "at least",
        Limit::AtMost => "at most",
    };
    let reached = goal.reached.map_or_else(
        || "-".to_owned(),
        |reached| format!("{} ({})", factor(reached.median), range(reached)),
    );
    format!(
        "{what}: {reached}; {limit} {}, moonshot {}: {}",
        factor(goal.target),
        factor(goal.moonshot),
        goal.verdict()
    )
}

fn median(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(String::new, |spread| format!("{:.digits$}", spread.median))
}

fn decimal(number: Option<f64>) -> String {
    number.map_or_else(String::new, |number| format!("{number:.2}"))
}

fn range(spread: Spread) -> String {
    format!("{}..{}", factor(spread.min), factor(spread.max))
}

/// A ratio: two digits after the point where they say something.
pub(crate) fn factor(number: f64) -> String {
    if number >= 10_000.0 {
        short(number)
    } else if number >= 20.0 {
        format!("{number:.0}")
    } else if number >= 0.1 || number == 0.0 {
        format!("{number:.2}")
    } else {
        format!("{number:.4}")
    }
}

/// A rate: three digits and a unit.
pub(crate) fn short(number: f64) -> String {
    if number >= 1e6 {
        format!("{:.2} M", number / 1e6)
    } else if number >= 1e3 {
        format!("{:.1} k", number / 1e3)
    } else {
        format!("{number:.0}")
    }
}
