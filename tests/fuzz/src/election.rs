//! The lock's record and annotations as anybody may write them, and verdicts as a policy may give them, into candidates that
//! meet faults. Judged by the simulator's oracles, which see what was stored and which gates were open.

use arbitrary::{Result, Unstructured};
use tenure_simulator::commands::Scenario;

/// Few, and over a short time: an input should take milliseconds. Long stories are the simulator's own.
const COMMANDS_MAX: usize = 30;
const NODES: [&str; 3] = ["a", "b", "c"];
/// The last is more than a lease.
const TICKS: [&str; 5] = ["50ms", "300ms", "700ms", "2s", "6s"];
const NUMBERS: [&str; 3] = ["duration", "transitions", "renewed"];
const TEXTS: [&str; 7] = [
    "holder",
    "term",
    "attempt",
    "released",
    "container",
    "tenure.dev/console",
    "control-plane.alpha.kubernetes.io/leader",
];
const VALUES: [&str; 10] = [
    "",
    "a",
    "7/a",
    "/",
    "0/",
    "4611686018427387904/z",
    "18446744073709551616/z",
    "-1/a",
    "00000000000000000000000000000000/1",
    "1/uid/main/containerd://x/5000",
];
/// What somebody does to a candidate that runs.
const TO_A_CANDIDATE: [&str; 24] = [
    "verdict {} campaign",
    "verdict {} keep",
    "verdict {} wait 0ms",
    "verdict {} wait 40s",
    "verdict {} wait 4294967295ms",
    "verdict {} yield",
    "peer {} q campaigns @1",
    "peer {} q waits @2",
    "peer {} q gone",
    "token {} refused 1",
    "token {} object 1000",
    "partition {}",
    "heal {}",
    "lose-answer {}",
    "lose-request {}",
    "answer-conflict {}",
    "answer-unchanged {}",
    "delay-write {} 5s",
    "refuse {} 403",
    "allow {}",
    "watch {} silent",
    "watch {} works",
    "watch-finds-nothing {}",
    "wall-step {} +30s",
];

/// Makes a story of the input, and lets it happen.
///
/// # Panics
/// When an oracle saw what must not be, or a candidate panicked.
pub fn election(input: &[u8]) {
    let mut scenario = Scenario::default();
    scenario.run("start a b c timing=fast");
    let mut told = Vec::new();
    // An input that ends in the middle of a command is a story up to there.
    let _ = happen(&mut Unstructured::new(input), &mut scenario, &mut told);
    assert!(scenario.world.judge.violations.is_empty(), "{:?} after {told:#?}", scenario.world.judge.violations);
}

fn happen(input: &mut Unstructured<'_>, scenario: &mut Scenario, told: &mut Vec<String>) -> Result<()> {
    for _ in 0..COMMANDS_MAX {
        let command = match input.int_in_range(0..=9_u8)? {
            0..=3 => format!("tick {}", input.choose(&TICKS)?),
            4 => "delete-lease".to_owned(),
            5 | 6 => format!("edit-lease {}", edits(input)?),
            _ => {
                let node = *input.choose(&NODES)?;
                let known = scenario.world.find(node).expect("it was started");
                if scenario.world.nodes[known].ours().is_none() {
                    continue;
                }
                input.choose(&TO_A_CANDIDATE)?.replace("{}", node)
            }
        };
        told.push(command);
        scenario.run(told.last().expect("just pushed"));
    }
    Ok(())
}

fn edits(input: &mut Unstructured<'_>) -> Result<String> {
    let count = input.int_in_range(1..=3_u8)?;
    let edits = (0..count).map(|_| {
        if input.ratio(1, 4)? {
            return Ok(format!("{}={}", input.choose(&NUMBERS)?, input.arbitrary::<u32>()?));
        }
        Ok(format!("{}={}", input.choose(&TEXTS)?, value(input)?))
    });
    Ok(edits.collect::<Result<Vec<_>>>()?.join(" "))
}

fn value(input: &mut Unstructured<'_>) -> Result<String> {
    if input.arbitrary()? {
        return Ok((*input.choose(&VALUES)?).to_owned());
    }
    let text: &str = input.arbitrary()?;
    Ok(text.chars().filter(|letter| !letter.is_whitespace()).collect())
}
