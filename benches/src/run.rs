//! Runs groups in rounds.

use std::process::ExitCode;

use crate::results::{GoalResult, GroupResult, Results, Row, machine};
use crate::{Case, Group, Options, Runtime, Sample, report};

/// Runs the selected groups and prints a table for each. Fails under `--check` when a goal is
/// missed by more than the noise.
pub fn run(groups: Vec<Group>, options: &Options) -> ExitCode {
    let mut results = Results {
        machine: machine(),
        groups: Vec::new(),
    };
    for group in groups {
        if !options.selects(&group.title) {
            continue;
        }
        if options.list {
            println!("{}", group.title);
            continue;
        }
        let result = measure(group, options);
        report::print(&result);
        results.groups.push(result);
        if let Some(path) = &options.json {
            results.add_to(path).expect("a file for the results");
        }
    }
    if !options.check {
        return ExitCode::SUCCESS;
    }
    let missed: Vec<_> = results.missed().collect();
    for (title, goal) in &missed {
        println!("MISSED: {title}: {}", report::goal(goal));
    }
    println!("{} goals are missed", missed.len());
    if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs one group: a round to warm up, then those that count.
fn measure(group: Group, options: &Options) -> GroupResult {
    let (rounds, operations) = (options.rounds(), options.operations(group.operations));
    // A runtime of its own, so that no task of another group is left in it.
    let runtime = match group.runtime {
        Runtime::TwoWorkers => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build(),
        Runtime::CurrentThread => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
    };
    let samples = runtime
        .expect("a runtime")
        .block_on(samples(&group.cases, rounds, operations));

    let find = |name: &str| {
        let index = group.cases.iter().position(|case| case.name == name);
        samples[index.expect("the goal of a case of its group")].as_slice()
    };
    let rows = group.cases.iter().zip(&samples);
    GroupResult {
        operations,
        rounds,
        rows: rows
            .filter(|(_, own)| !own.is_empty())
            .map(|(case, own)| Row::new(case.name, own, &samples[0]))
            .collect(),
        goals: group
            .goals
            .iter()
            .map(|goal| GoalResult::new(goal, find(goal.case), goal.to.map(find)))
            .collect(),
        title: group.title,
    }
}

/// Returns the samples of each case. A case that this machine lacks has none.
async fn samples(cases: &[Case], rounds: usize, operations: usize) -> Vec<Vec<Sample>> {
    let mut samples = vec![Vec::with_capacity(rounds); cases.len()];
    let mut lacking = vec![false; cases.len()];
    for round in 0..=rounds {
        for (index, case) in cases.iter().enumerate() {
            if lacking[index] {
                continue;
            }
            let operations = (operations / case.one_in).next_multiple_of(64);
            // In a task, as in a program: each wake-up of the thread of `block_on` costs a futex.
            let sample = tokio::spawn((case.run)(operations))
                .await
                .expect("a case does not panic");
            match sample {
                None => lacking[index] = true,
                // The first round warms up.
                Some(sample) if round > 0 => samples[index].push(sample),
                Some(_) => {}
            }
        }
    }
    samples
}
