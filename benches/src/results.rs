//! What a run found, and the file that keeps it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Goal, Limit, Measure, Sample, float};

/// How far a median may be from its target before `--check` fails.
const NOISE: f64 = 0.85;

/// All groups of a run, or of several that share a file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Results {
    /// The processor, the system and the compiler.
    pub machine: String,
    /// One entry a group.
    pub groups: Vec<GroupResult>,
}

/// A median and the range of all rounds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// One table.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct GroupResult {
    /// Its title.
    pub title: String,
    /// How many operations a case did in a round.
    pub operations: usize,
    /// How many rounds counted.
    pub rounds: usize,
    /// The cases. The first one is the baseline.
    pub rows: Vec<Row>,
    /// The goals.
    pub goals: Vec<GoalResult>,
}

/// One case.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Operations a second.
    pub rate: Option<Spread>,
    /// The rate, divided by that of the baseline in the same round.
    pub ratio: Option<Spread>,
    /// The median time of an operation, in microseconds.
    pub p50_us: Option<Spread>,
    /// The same, divided by that of the baseline.
    pub p50_ratio: Option<Spread>,
    /// The time that 99 % of the operations do not exceed, in microseconds.
    pub p99_us: Option<Spread>,
    /// The same, divided by that of the baseline.
    pub p99_ratio: Option<Spread>,
    /// CPU time of this process for an operation, in microseconds.
    pub client_us: Option<f64>,
    /// CPU time of the server for an operation, in microseconds.
    pub server_us: Option<f64>,
    /// Commands of the server for an operation.
    pub commands: Option<f64>,
    /// What it measures instead of time.
    pub value: Option<Spread>,
}

/// A goal, and what was reached.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct GoalResult {
    /// The case.
    pub case: String,
    /// The case that it is compared with.
    pub to: Option<String>,
    /// The number that is compared.
    pub measure: Measure,
    /// Whether more or less is better.
    pub limit: Limit,
    /// What must be reached.
    pub target: f64,
    /// What would be excellent.
    pub moonshot: f64,
    /// What was reached. `None` if one of the two cases did not run.
    pub reached: Option<Spread>,
}

impl GoalResult {
    /// Tells whether the target is missed by more than the noise.
    pub fn is_missed(&self) -> bool {
        self.reached.is_some_and(|reached| match self.limit {
            Limit::AtLeast => reached.median < self.target * NOISE,
            Limit::AtMost => reached.median > self.target / NOISE,
        })
    }

    /// Says what was reached in two words.
    pub fn verdict(&self) -> &'static str {
        let reaches = |goal: f64| {
            self.reached.is_some_and(|reached| match self.limit {
                Limit::AtLeast => reached.median >= goal,
                Limit::AtMost => reached.median <= goal,
            })
        };
        if self.reached.is_none() {
            "not measured"
        } else if reaches(self.moonshot) {
            "moonshot"
        } else if reaches(self.target) {
            "reached"
        } else if self.is_missed() {
            "MISSED"
        } else {
            "within noise"
        }
    }
}

impl Results {
    /// Reads the file of an earlier run, if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// Adds these results to a file. Groups of the same title are replaced.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub fn add_to(&self, path: &Path) -> std::io::Result<()> {
        let mut all = if path.exists() {
            Self::read(path)?
        } else {
            Self::default()
        };
        all.machine.clone_from(&self.machine);
        for group in &self.groups {
            match all.groups.iter_mut().find(|old| old.title == group.title) {
                Some(old) => old.clone_from(group),
                None => all.groups.push(group.clone()),
            }
        }
        std::fs::write(path, serde_json::to_vec_pretty(&all)?)
    }

    /// Returns the goals that are missed by more than the noise, each with the title of its group.
    pub fn missed(&self) -> impl Iterator<Item = (&str, &GoalResult)> {
        self.groups.iter().flat_map(|group| {
            let missed = group.goals.iter().filter(|goal| goal.is_missed());
            missed.map(|goal| (group.title.as_str(), goal))
        })
    }
}

impl Row {
    /// Summarizes the samples of a case, beside those of the baseline.
    pub(crate) fn new(name: &str, samples: &[Sample], baseline: &[Sample]) -> Self {
        let ratio = |measure| spread(ratios(measure, samples, baseline));
        let median = |number: fn(&Sample) -> Option<f64>| {
            spread(samples.iter().filter_map(number)).map(|spread| spread.median)
        };
        Self {
            name: name.to_owned(),
            rate: spread(samples.iter().filter_map(|sample| sample.rate)),
            ratio: ratio(Measure::Rate),
            p50_us: spread(samples.iter().filter_map(|sample| sample.p50_us)),
            p50_ratio: ratio(Measure::P50),
            p99_us: spread(samples.iter().filter_map(|sample| sample.p99_us)),
            p99_ratio: ratio(Measure::P99),
            client_us: median(|sample| sample.client_us),
            server_us: median(|sample| sample.server_us),
            commands: median(|sample| sample.commands),
            value: spread(samples.iter().filter_map(|sample| sample.value)),
        }
    }
}

impl GoalResult {
    /// Compares the samples of a case with those of the other one, or with the target itself.
    pub(crate) fn new(goal: &Goal, samples: &[Sample], other: Option<&[Sample]>) -> Self {
        let reached = match other {
            Some(other) => spread(ratios(goal.measure, samples, other)),
            None => spread(samples.iter().filter_map(|sample| goal.measure.of(sample))),
        };
        Self {
            case: goal.case.to_owned(),
            to: goal.to.map(str::to_owned),
            measure: goal.measure,
            limit: goal.limit,
            target: goal.target,
            moonshot: goal.moonshot,
            reached,
        }
    }
}

/// The ratios of each round.
fn ratios<'a>(
    measure: Measure,
    samples: &'a [Sample],
    baseline: &'a [Sample],
) -> impl Iterator<Item = f64> + 'a {
    samples
        .iter()
        .zip(baseline)
        .filter_map(move |(own, base)| Some(measure.of(own)? / measure.of(base)?))
}

fn spread(numbers: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (sorted.first()?, sorted.last()?);
    let half = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[half]
    } else {
        f64::midpoint(sorted[half - 1], sorted[half])
    };
    Some(Spread {
        median,
        min: *first,
        max: *last,
    })
}

/// Describes this machine in a line: the processor, its cores, the system.
pub(crate) fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or_else(
            || std::env::consts::ARCH.to_owned(),
            |(_, model)| model.trim().to_owned(),
        );
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let release = read("/proc/sys/kernel/osrelease");
    // Without what a distribution adds.
    let release = release.split('-').next().unwrap_or_default();
    let memory = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))
        .and_then(|kibibytes| kibibytes.parse::<usize>().ok())
        .map_or_else(String::new, |kibibytes| {
            format!(", {:.0} GiB", float(kibibytes) / 1024.0 / 1024.0)
        });
    format!(
        "{model}, {cores} cores{memory}, {} {}",
        std::env::consts::OS,
        release.trim()
    )
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::{GoalResult, Results, Row, spread};
    use crate::{Goal, Limit, Measure, Sample};

    fn samples(rates: &[f64]) -> Vec<Sample> {
        let sample = |&rate| Sample {
            rate: Some(rate),
            ..Sample::default()
        };
        rates.iter().map(sample).collect()
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let row = Row::new(
            "b",
            &samples(&[2.0, 30.0, 400.0]),
            &samples(&[1.0, 10.0, 200.0]),
        );
        let ratio = row.ratio.unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max), (2.0, 2.0, 3.0));
        assert_eq!(row.rate.unwrap().median, 30.0);
        assert!(row.p50_us.is_none());
    }

    #[test]
    fn a_target_is_missed_only_beyond_the_noise() {
        let goal = Goal::faster("b", "a", 2.0, 3.0);
        let verdict =
            |own| GoalResult::new(&goal, &samples(&[own]), Some(&samples(&[1.0]))).verdict();
        assert_eq!(verdict(1.69), "MISSED");
        assert_eq!(verdict(1.71), "within noise");
        assert_eq!(verdict(2.0), "reached");
        assert_eq!(verdict(3.0), "moonshot");

        let at_most = Goal::absolute(Measure::Rate, "b", Limit::AtMost, 17.0, 10.0);
        let verdict = |own| GoalResult::new(&at_most, &samples(&[own]), None).verdict();
        assert_eq!(verdict(20.1), "MISSED");
        assert_eq!(verdict(19.9), "within noise");
        assert_eq!(verdict(10.0), "moonshot");
        assert_eq!(
            GoalResult::new(&goal, &[], Some(&[])).verdict(),
            "not measured"
        );
    }

    #[test]
    fn the_median_of_an_even_count_is_between_the_middle_two() {
        assert_eq!(
            spread([4.0, 1.0, 3.0, 2.0].into_iter()).unwrap().median,
            2.5
        );
    }

    #[test]
    fn a_file_keeps_the_groups_of_other_runs() {
        let path = std::env::temp_dir().join(format!("{}.json", crate::unique("results")));
        let with = |title: &str, operations| {
            let group = super::GroupResult {
                title: title.to_owned(),
                operations,
                rounds: 1,
                rows: vec![],
                goals: vec![],
            };
            Results {
                machine: "m".to_owned(),
                groups: vec![group],
            }
        };
        for (title, operations) in [("a", 1), ("b", 2), ("a", 3)] {
            with(title, operations).add_to(&path).unwrap();
        }
        let all = Results::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let all: Vec<_> = all
            .groups
            .iter()
            .map(|g| (&*g.title, g.operations))
            .collect();
        assert_eq!(all, [("a", 3), ("b", 2)]);
    }
}
