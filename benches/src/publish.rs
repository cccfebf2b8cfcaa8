//! Writes results into the documents of the project, between two marker comments.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use crate::report::{factor, short};
use crate::results::{GoalResult, GroupResult, Results, Row};
use crate::{Limit, Measure};

/// What a program that writes documents returns.
type Outcome = Result<(), Box<dyn Error>>;

/// The two comments around what is generated.
const START: &str = "<!-- speed: written by benches/report.sh -->";
const END: &str = "<!-- /speed -->";

/// Writes the table and the chart of the README, and all tables of `docs/PERFORMANCE.md`. `root` is
/// the folder of the project.
///
/// # Errors
///
/// If a file cannot be read or written, or lacks the comments.
pub fn publish(results: &Results, root: &Path) -> Outcome {
    replace(&root.join("README.md"), &summary(results))?;
    replace(&root.join("docs/PERFORMANCE.md"), &tables(results))?;
    crate::plot::bars(&bars(results), &root.join("docs/speed.svg"))
}

/// Replaces what is between the comments.
fn replace(path: &Path, text: &str) -> Outcome {
    let old = std::fs::read_to_string(path)?;
    let between = || {
        let (before, rest) = old.split_once(START)?;
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    };
    let (before, after) = between().ok_or_else(|| format!("{} has no {START}", path.display()))?;
    let new = format!("{before}{START}\n\n{text}\n{END}{after}");
    Ok(std::fs::write(path, new)?)
}

/// A line for each highlight that compares two cases.
fn summary(results: &Results) -> String {
    let mut text = format!(
        "![how many times as fast as the baseline pymq is](docs/speed.svg)\n\n\
         Measured by `cargo bench -p pymq-benches` with {} bytes, median of the rounds, on: {}.\n\n\
         | | beside | pymq | ratio (range) |\n|---|---|---:|---:|\n",
        crate::PAYLOAD,
        results.machine
    );
    for (group, goal) in highlights(results) {
        let (Some(to), Some(reached)) = (&goal.to, goal.reached) else {
            continue;
        };
        let own = row(group, &goal.case);
        let number = match goal.measure {
            Measure::P50 => own.and_then(|row| row.p50_us).map(|p50| micros(p50.median)),
            Measure::Rate => own
                .and_then(|row| row.rate)
                .map(|rate| format!("{}/s", short(rate.median))),
            Measure::P99 | Measure::Value => None,
        };
        let kind = if goal.measure == Measure::P50 {
            ", time (p50)"
        } else {
            ""
        };
        writeln!(
            text,
            "| {}: {}{kind} | {to} | {} | {} ({}..{}) |",
            group.title,
            goal.case,
            number.unwrap_or_default(),
            factor(reached.median),
            factor(reached.min),
            factor(reached.max)
        )
        .expect("a string takes all");
    }
    text
}

/// A table for each group, and its goals.
fn tables(results: &Results) -> String {
    let mut text = format!("Machine: {}.\n", results.machine);
    for group in &results.groups {
        table(&mut text, group).expect("a string takes all");
    }
    text
}

fn table(text: &mut String, group: &GroupResult) -> std::fmt::Result {
    let (title, rounds) = (&group.title, group.rounds);
    if group.rows.iter().any(|row| row.value.is_some()) {
        writeln!(
            text,
            "\n**{title}** ({rounds} rounds)\n\n| | value |\n|---|---:|"
        )?;
        for row in &group.rows {
            let value = row.value.map_or(0.0, |value| value.median);
            writeln!(text, "| {} | {} |", row.name, factor(value))?;
        }
    } else {
        writeln!(
            text,
            "\n**{title}** ({} operations, {rounds} rounds)\n\n\
             | | a second | ratio (range) | p50 | p99 | client CPU | Redis CPU | commands |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|",
            group.operations
        )?;
        for row in &group.rows {
            let ratio = row.ratio.map_or_else(String::new, |ratio| {
                let [median, min, max] = [ratio.median, ratio.min, ratio.max].map(factor);
                format!("{median} ({min}..{max})")
            });
            writeln!(
                text,
                "| {} | {} | {ratio} | {} | {} | {} | {} | {} |",
                row.name,
                row.rate.map_or_else(String::new, |rate| short(rate.median)),
                row.p50_us
                    .map_or_else(String::new, |p50| micros(p50.median)),
                row.p99_us
                    .map_or_else(String::new, |p99| micros(p99.median)),
                row.client_us.map_or_else(String::new, micros),
                row.server_us.map_or_else(String::new, micros),
                row.commands.map_or_else(String::new, factor),
            )?;
        }
    }
    if !group.goals.is_empty() {
        writeln!(text)?;
    }
    for goal in &group.goals {
        writeln!(text, "- {}", crate::report::goal(goal))?;
    }
    Ok(())
}

/// How many times as fast pymq is, for each line of the summary.
fn bars(results: &Results) -> Vec<(String, f64)> {
    let bars = highlights(results).filter_map(|(group, goal)| {
        let (to, reached) = (goal.to.as_ref()?, goal.reached?.median);
        let (ratio, kind) = match goal.limit {
            Limit::AtLeast => (reached, ""),
            Limit::AtMost => (1.0 / reached, " (p50)"),
        };
        Some((
            format!("{}: {}{kind} / {to}", group.title, goal.case),
            ratio,
        ))
    });
    bars.collect()
}

/// The goals of the README: without p99, without the groups that repeat another one on the
/// current-thread runtime, and without those that compare pymq with itself.
fn highlights(results: &Results) -> impl Iterator<Item = (&GroupResult, &GoalResult)> {
    let groups = results.groups.iter();
    let groups = groups.filter(|group| !group.title.contains("current-thread"));
    let goals = groups.flat_map(|group| group.goals.iter().map(move |goal| (group, goal)));
    goals.filter(|(_, goal)| {
        let is_own = goal.to.as_ref().is_some_and(|to| to.starts_with("pymq"));
        goal.measure != Measure::P99 && !is_own
    })
}

fn row<'a>(group: &'a GroupResult, name: &str) -> Option<&'a Row> {
    group.rows.iter().find(|row| row.name == name)
}

fn micros(number: f64) -> String {
    format!("{number:.1} µs")
}

#[cfg(test)]
mod tests {
    use super::{END, START, publish};
    use crate::results::{GoalResult, GroupResult, Results, Row};
    use crate::{Goal, Sample};

    #[test]
    fn a_report_is_written_between_the_comments_and_may_be_repeated() {
        let root = std::env::temp_dir().join(crate::unique("report"));
        std::fs::create_dir_all(root.join("docs")).unwrap();
        for name in ["README.md", "docs/PERFORMANCE.md"] {
            let text = format!("before\n{START}\nold\n{END}\nafter\n");
            std::fs::write(root.join(name), text).unwrap();
        }
        let at = |rate| {
            let sample = Sample {
                rate: Some(rate),
                ..Sample::default()
            };
            vec![sample]
        };
        let goal = Goal::faster("pymq", "raw", 2.0, 3.0);
        let group = GroupResult {
            title: "publish".to_owned(),
            operations: 64,
            rounds: 1,
            rows: vec![
                Row::new("raw", &at(1e3), &at(1e3)),
                Row::new("pymq", &at(2.5e3), &at(1e3)),
            ],
            goals: vec![GoalResult::new(&goal, &at(2.5e3), Some(&at(1e3)))],
        };
        let results = Results {
            machine: "a machine".to_owned(),
            groups: vec![group],
        };

        publish(&results, &root).unwrap();
        let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
        publish(&results, &root).unwrap();

        let again = std::fs::read_to_string(root.join("README.md")).unwrap();
        let svg = std::fs::read_to_string(root.join("docs/speed.svg")).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(readme, again);
        assert!(readme.starts_with("before\n") && readme.ends_with("after\n"));
        assert!(readme.contains("| publish: pymq | raw | 2.5 k/s | 2.50 (2.50..2.50) |"));
        assert!(!readme.contains("old"));
        assert!(svg.contains("<svg") && svg.contains("publish: pymq / raw"));
    }
}
