//! Thirty questions and the records of real projects that answer them.

/// A question, and the records that answer it: the beginning of the last part of their keys.
/// Versions 2 and 3 of the tool know several of them twice, in words of their own.
pub(crate) type Question = (&'static str, &'static [&'static str]);

/// None of them repeats the name of its answer.
pub(crate) const QUESTIONS: [Question; 30] = [
    (
        "tests that pass sometimes and fail at other times",
        &["fix-flaky-tests|", "qg-fix-flaky-tests", "ts-detect-flaky", "ts-stabilize-flaky"],
    ),
    ("is anything leaking RAM?", &["profile-memory|"]),
    ("look for passwords and API keys committed by accident", &["scan-secrets|"]),
    ("check that people with disabilities can use the pages (WCAG)", &["run-accessibility-audit|"]),
    ("compare screenshots before and after a change", &["run-visual-regression|"]),
    ("at what traffic does the system fall over?", &["stress-test|", "orch-run-stress-tests"]),
    ("simulate many users at the same time", &["load-test|", "orch-run-load-tests", "fleet-spawn-perf"]),
    ("automate the browser through a user flow from start to finish", &["run-e2e-tests|"]),
    ("does a service keep the agreement that its consumers rely on?", &["run-contract-tests|"]),
    ("are the assertions strong enough to notice a bug that was put in on purpose?", &["run-mutation-testing|"]),
    ("which code is most likely to contain the next bug?", &["predict-defects|"]),
    ("find modules that import each other in a circle", &["analyze-dependencies|"]),
    ("attack the running web app from outside", &["run-dast|"]),
    ("the ten most common web vulnerabilities", &["owasp-audit|"]),
    ("shut down workers that have nothing to do", &["fleet-terminate-idle", "fleet-scale-down", "scale-down-fleet|"]),
    (
        "spread the jobs more evenly over the workers",
        &["fleet-redistribute", "rebalance-workload|", "ts-optimize-parallel"],
    ),
    (
        "which parts does my edit of the code affect?",
        &["ts-analyze-impact", "orch-analyze-change-impact", "ts-select-minimal"],
    ),
    ("write Gherkin scenarios of how it should behave", &["ts-bdd-scenarios", "orch-generate-bdd-scenarios"]),
    ("tests with randomly generated values that check properties", &["generate-property-tests|"]),
    (
        "lines that no test ever executes",
        &["analyze-coverage-gaps|", "ts-coverage-gaps", "orch-analyze-coverage-gaps", "prioritize-uncovered-paths|"],
    ),
    ("our build takes too long because of the suite", &["optimize-slow-tests|"]),
    ("code that is hard to understand because of nested branches", &["analyze-complexity|", "qg-code-complexity"]),
    ("how much old debt is there in the code, and a plan to pay it back", &["measure-technical-debt|"]),
    (
        "is this version ready to be deployed?",
        &["generate-deployment-report|", "enforce-quality-gate|", "qg-evaluate-gate", "orch-evaluate-quality-gate"],
    ),
    ("ask for permission to release although a check failed", &["qg-request-exception"]),
    ("a short check whether the critical things still work", &["qg-smoke-tests"]),
    ("talk to an actual database while testing", &["run-integration-tests|"]),
    ("is everything that was specified also tested?", &["validate-requirements|"]),
    ("how fast is it today, to compare later runs with?", &["orch-measure-performance-baseline", "run-benchmarks|"]),
    ("bad code style and anti patterns that a linter would find", &["detect-code-smells|"]),
];
