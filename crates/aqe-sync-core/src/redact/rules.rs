//! What credentials look like.
//!
//! Forms are those that the providers document for their own keys and tokens; the fixed
//! prefixes are there so that scanners find them. A rule is tried only where one of its
//! needles occurs, so that text without any costs one pass.

use std::sync::LazyLock;

use regex::Regex;

/// One kind of credential.
pub(super) struct Rule {
    /// Its name: what stands in the marker.
    pub(super) name: &'static str,
    /// Text that occurs in every one of them, in lower case.
    pub(super) needles: &'static [&'static str],
    /// What is replaced: group `s` where there is one, else all of the match.
    pattern: &'static str,
    /// Whether the match has to look like a value, and not like a word or a placeholder.
    pub(super) judged: Option<Judge>,
}

/// What a value after `password=` and the like has to be.
#[derive(Clone, Copy)]
pub(super) enum Judge {
    /// Whatever somebody would choose.
    Password,
    /// What a machine makes: letters and digits, long enough.
    Random,
}

const fn provider(name: &'static str, needles: &'static [&'static str], pattern: &'static str) -> Rule {
    Rule { name, needles, pattern, judged: None }
}

/// Names of settings that hold what a person chose, and what stands between name and value.
/// Inside JSON text quotes may be escaped.
macro_rules! password_then {
    ($value:expr) => {
        concat!(r#"(?i)(?:password|passwd|passphrase)(?:\\?["'])?\s*(?::|=>?)\s*"#, $value)
    };
}

/// In quotes, all that stands there: people choose sentences.
const QUOTED: &str = password_then!(r#""(?P<s>(?:[^"\\\n]|\\[^\n]){4,256}?)""#);
const QUOTED_ONCE: &str = password_then!(r#"'(?P<s>[^'\n]{4,256})'"#);
const QUOTED_IN_JSON: &str = password_then!(r#"\\"(?P<s>[^"\\\n]{4,256})\\""#);

/// Without quotes a value ends at white space or a separator.
const BARE: &str = password_then!(r#"(?:\\?["'])?(?P<s>[^\s"'\\,;&<>(){}\[\]]{4,})"#);

/// Also the name of the current folder, so no paths.
const PWD: &str = concat!(
    r#"(?i)(?:\b|_)pwd(?:\\?["'])?\s*(?::|=>?)\s*(?:\\?["'])?"#,
    r#"(?P<s>[^\s"'\\,;&<>(){}\[\]/~.][^\s"'\\,;&<>(){}\[\]]{3,})"#
);

/// Names of settings that hold what a machine made.
const SECRET: &str = concat!(
    r#"(?i)(?:secret|token|api[_-]?key|apikey|access[_-]?key|private[_-]?key|auth[_-]?key|account[_-]?key|credential)s?"#,
    r#"(?:\\?["'])?\s*(?::|=>?)\s*(?:\\?["'])?(?:bearer\s+)?"#,
    r#"(?P<s>[A-Za-z0-9_~.+/=-]{16,})"#
);

/// AWS makes those that belong to its ids with 40 characters, of which no more need be said.
const AWS_SECRET: &str =
    r#"(?i)secret[_-]?access[_-]?key(?:\\?["'])?\s*(?::|=>?)\s*(?:\\?["'])?(?P<s>[A-Za-z0-9/+]{40})\b"#;

const NAMES_OF_PASSWORDS: &[&str] = &["password", "passwd", "passphrase"];

const fn password(needles: &'static [&'static str], pattern: &'static str) -> Rule {
    Rule { name: "password", needles, pattern, judged: Some(Judge::Password) }
}

pub(super) const RULES: &[Rule] = &[
    provider(
        "private-key",
        &["private key-----", "private key block-----"],
        r"(?s)-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----|\z)",
    ),
    provider("age-key", &["age-secret-key-1"], r"(?i)\bAGE-SECRET-KEY-1[A-Z0-9]{58}\b"),
    provider("aws-key", &["akia", "asia", "abia", "acca"], r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    provider("github-token", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    provider("github-token", &["github_pat_"], r"\bgithub_pat_[A-Za-z0-9_]{22,}\b"),
    provider("gitlab-token", &["glpat-", "gldt-", "glrt-", "glptt-"], r"\bgl(?:pat|dt|rt|ptt)-[A-Za-z0-9_-]{20,}"),
    provider("slack-token", &["xox", "xapp-"], r"\b(?:xox[abeprs]|xapp)-[A-Za-z0-9-]{10,}"),
    provider(
        "slack-webhook",
        &["hooks.slack.com/"],
        r"hooks\.slack\.com/(?:services|workflows)/(?P<s>[A-Za-z0-9_/]{20,})",
    ),
    provider("google-key", &["aiza"], r"\bAIza[0-9A-Za-z_-]{35}"),
    provider("google-token", &["ya29.", "gocspx-"], r"\b(?:ya29\.[0-9A-Za-z_-]{20,}|GOCSPX-[0-9A-Za-z_-]{28})"),
    provider("anthropic-key", &["sk-ant-"], r"\bsk-ant-[A-Za-z0-9_-]{20,}"),
    provider("openai-key", &["sk-"], r"\bsk-(?:proj-|svcacct-|admin-|or-v1-)?[A-Za-z0-9_-]{20,}"),
    provider(
        "stripe-key",
        &["sk_live_", "rk_live_", "sk_test_", "rk_test_", "whsec_"],
        r"\b(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9+/=]{16,}",
    ),
    provider("huggingface-token", &["hf_"], r"\bhf_[A-Za-z0-9]{30,}\b"),
    provider("npm-token", &["npm_"], r"\bnpm_[A-Za-z0-9]{36}\b"),
    provider("pypi-token", &["pypi-"], r"\bpypi-[A-Za-z0-9_-]{50,}"),
    provider("docker-token", &["dckr_pat_", "dckr_oat_"], r"\bdckr_[po]at_[A-Za-z0-9_-]{20,}"),
    provider("digitalocean-token", &["dop_v1_", "doo_v1_", "dor_v1_"], r"\bdo[por]_v1_[a-f0-9]{64}\b"),
    provider("databricks-token", &["dapi"], r"\bdapi[a-f0-9]{32}(?:-\d)?\b"),
    provider("vault-token", &["hvs.", "hvb.", "hvr."], r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}"),
    provider("sendgrid-key", &["sg."], r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    provider("telegram-token", &[":aa"], r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{32,}"),
    provider("shopify-token", &["shpat_", "shpca_", "shppa_", "shpss_"], r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b"),
    provider("linear-key", &["lin_api_", "lin_oauth_"], r"\blin_(?:api|oauth)_[A-Za-z0-9]{32,}"),
    provider("notion-token", &["ntn_"], r"\bntn_[A-Za-z0-9]{40,}"),
    provider("groq-key", &["gsk_"], r"\bgsk_[A-Za-z0-9]{40,}"),
    provider("xai-key", &["xai-"], r"\bxai-[A-Za-z0-9]{40,}"),
    provider("perplexity-key", &["pplx-"], r"\bpplx-[A-Za-z0-9]{40,}"),
    provider("replicate-token", &["r8_"], r"\br8_[A-Za-z0-9]{30,}"),
    provider("pinecone-key", &["pcsk_"], r"\bpcsk_[A-Za-z0-9_]{40,}"),
    provider("langsmith-key", &["lsv2_"], r"\blsv2_(?:pt|sk)_[A-Za-z0-9_]{32,}"),
    provider("grafana-token", &["glsa_", "glc_"], r"\b(?:glsa|glc)_[A-Za-z0-9_+/=]{30,}"),
    provider("newrelic-key", &["nrak-"], r"\bNRAK-[A-Z0-9]{27}\b"),
    provider("planetscale-token", &["pscale_"], r"\bpscale_(?:tkn|pw|oauth)_[A-Za-z0-9=._-]{32,}"),
    provider("supabase-token", &["sbp_"], r"\bsbp_[a-f0-9]{40}\b"),
    provider("sentry-token", &["sntrys_", "sntryu_"], r"\bsntry[su]_[A-Za-z0-9_+/=]{40,}"),
    provider("figma-token", &["figd_"], r"\bfigd_[A-Za-z0-9_-]{40,}"),
    provider("postman-key", &["pmak-"], r"\bPMAK-[a-f0-9]{24}-[a-f0-9]{34}\b"),
    provider(
        "doppler-token",
        &["dp.pt.", "dp.st.", "dp.ct.", "dp.sa."],
        r"\bdp\.(?:pt|st|ct|sa)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,}",
    ),
    provider("atlassian-token", &["atatt3"], r"\bATATT3[A-Za-z0-9_=-]{50,}"),
    provider("square-token", &["sq0"], r"\bsq0[a-z]{3}-[A-Za-z0-9_-]{22,}"),
    provider("pulumi-token", &["pul-"], r"\bpul-[a-f0-9]{40}\b"),
    provider("tailscale-key", &["tskey-"], r"\btskey-[a-z]+-[A-Za-z0-9-]{20,}"),
    provider("netlify-token", &["nfp_"], r"\bnfp_[A-Za-z0-9]{36,}"),
    provider("rubygems-key", &["rubygems_"], r"\brubygems_[a-f0-9]{48}\b"),
    provider("azure-secret", &["q~"], r"\b[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}"),
    Rule { name: "aws-secret", needles: &["access"], pattern: AWS_SECRET, judged: None },
    provider("jwt", &["eyj"], r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    Rule {
        name: "url-password",
        needles: &["://"],
        pattern: r#"(?i)\b[a-z][a-z0-9+.-]{1,30}://[^\s/:@"'\\?#]*:(?P<s>[^\s/@"'\\]{1,256})@"#,
        judged: Some(Judge::Password),
    },
    Rule {
        name: "url-token",
        needles: &["token=", "key=", "sig=", "signature=", "secret=", "password=", "code="],
        pattern: r#"(?i)[?&](?:[a-z_-]*(?:token|key|secret|password|signature)|sig|code)=(?P<s>[^\s&"'\\#]{8,})"#,
        judged: Some(Judge::Password),
    },
    provider(
        "authorization",
        &["bearer ", "basic ", "authorization"],
        r#"(?i)\bauthorization(?:\\?["'])?\s*[:=]\s*(?:\\?["'])?(?:bearer|basic|token)\s+(?P<s>[A-Za-z0-9_~.+/=-]{8,})"#,
    ),
    Rule {
        name: "authorization",
        needles: &["bearer "],
        pattern: r"(?i)\bbearer\s+(?P<s>[A-Za-z0-9_~.+/=-]{20,})",
        judged: Some(Judge::Random),
    },
    Rule {
        name: "password",
        needles: &["curl"],
        pattern: r#"(?i)\bcurl\b[^\n]{0,400}?\s(?:-u|--user|--proxy-user)[\s=]+(?:\\?["'])?[^\s:"'\\]+:(?P<s>[^\s"'\\]{3,})"#,
        judged: Some(Judge::Password),
    },
    password(NAMES_OF_PASSWORDS, QUOTED),
    password(NAMES_OF_PASSWORDS, QUOTED_ONCE),
    password(NAMES_OF_PASSWORDS, QUOTED_IN_JSON),
    password(NAMES_OF_PASSWORDS, BARE),
    password(&["pwd"], PWD),
    Rule {
        name: "secret",
        needles: &["secret", "token", "key", "credential"],
        pattern: SECRET,
        judged: Some(Judge::Random),
    },
];

/// The rules' patterns, in their order.
pub(super) static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    // Built from constants only; a test builds every one.
    RULES.iter().map(|rule| Regex::new(rule.pattern).expect("a rule's pattern is well-formed")).collect()
});

impl Judge {
    /// Whether a value is one to hide.
    pub(super) fn hides(self, value: &str) -> bool {
        let lower = value.to_ascii_lowercase();
        let placeholder =
            ["${", "$(", "<", "{{", "process.env", "os.environ", "getenv", "[redacted:", "****", "xxxx", "..."];
        if placeholder.iter().any(|start| lower.starts_with(start)) {
            return false;
        }
        match self {
            Self::Password => {
                let words = [
                    "null",
                    "none",
                    "true",
                    "false",
                    "undefined",
                    "string",
                    "text",
                    "required",
                    "optional",
                    "password",
                ];
                !words.contains(&lower.trim_end_matches(['.', '!', '?', ':']))
            }
            Self::Random => {
                let digits = value.bytes().filter(u8::is_ascii_digit).count();
                let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
                digits >= 2 && letters >= 2
            }
        }
    }
}
