// SPDX-License-Identifier: GPL-2.0

//! A series with faults that were put there, and the same one without.

use series::checks::report::Report;
use series::checks::runner::{self, Kept};
use series::checks::{self, Subject};
use series::git::{Commit, Person, Repository};
use series::weave::{Blob, Mode, Tree};

const ABSTRACTION: &str = "rust/kernel/net/demo.rs";
const USER: &str = "net/demo/demo.rs";
const MAINTAINERS: &str = "DEMO\nM:\tJane Doe <jane@example.org>\nF:\tnet/demo/\n\
                           F:\trust/kernel/net/demo.rs\n\nTHE REST\nF:\t*\n";

/// What a series is made of; each fault changes one of these.
#[derive(Clone)]
struct Parts {
    subject: String,
    signer: String,
    abstraction: String,
    user: String,
    maintainers: String,
}

impl Parts {
    fn good() -> Parts {
        Parts {
            subject: "rust: net: add a demo".into(),
            signer: "Jane Doe <jane@example.org>".into(),
            abstraction: "/// Does it.\npub fn do_it() {\n    loop {}\n}\n".into(),
            user: "fn f() {\n    do_it();\n}\n".into(),
            maintainers: MAINTAINERS.into(),
        }
    }

    fn report(&self) -> Report {
        let base: Tree = [("MAINTAINERS", "THE REST\nF:\t*\n")].map(file).into();
        let mut tree = base.clone();
        let mut commit = |subject: &str, files: &[(&str, &str)]| {
            tree.extend(files.iter().map(|each| file(*each)));
            Commit {
                message: format!("{subject}\n\nIt is needed.\n\nSigned-off-by: {}\n", self.signer),
                author: Person { name: "Jane Doe".into(), mail: "jane@example.org".into() },
                date: "1700000000 +0000".into(),
                tree: tree.clone(),
            }
        };
        let commits = [
            commit(&self.subject, &[(ABSTRACTION, &self.abstraction)]),
            commit("net: demo: use it", &[(USER, &self.user), ("MAINTAINERS", &self.maintainers)]),
        ];
        let repository = Repository::scratch().unwrap();
        repository.write(&base, &commits).unwrap();
        let subject = Subject::of_range(repository.folder(), "stack~2..stack").unwrap();
        let mut kept = Kept::read(&repository.folder().join("kept.json"));
        runner::run(&subject, &checks::all(), None, &mut kept, |_| ()).unwrap()
    }
}

fn file((path, text): (&str, &str)) -> (String, Blob) {
    (path.to_owned(), Blob { mode: Mode::Plain, content: text.into() })
}

/// The patch, the check and the place of each finding.
fn found(report: &Report) -> Vec<String> {
    let mut found = Vec::new();
    for patch in &report.patches {
        for cell in &patch.cells {
            for finding in cell.outcome.findings() {
                let place = finding.place();
                found.push(format!("{} {} {}", patch.number, cell.check, place.trim_end()));
            }
        }
    }
    found
}

#[test]
fn each_planted_fault_is_found_by_its_check_alone() {
    let good = Parts::good();
    let report = good.report();
    assert_eq!(found(&report), [""; 0]);
    assert_eq!(report.count().failed, 0);
    let own = |text: &str, add: &str| format!("{text}{add}");
    for (faulty, want) in [
        (
            Parts { user: "fn f() {}\n".into(), ..good.clone() },
            format!("1 rust_users {ABSTRACTION}:2:"),
        ),
        (
            Parts { abstraction: own(&good.abstraction, "// \n"), ..good.clone() },
            format!("1 whitespace {ABSTRACTION}:5:"),
        ),
        (
            Parts {
                maintainers: MAINTAINERS.replace("F:\trust/kernel/net/demo.rs\n", ""),
                ..good.clone()
            },
            format!("1 maintainers {ABSTRACTION}:"),
        ),
        (
            Parts { user: own(&good.user, "fn g() {\n    unsafe { h() };\n}\n"), ..good.clone() },
            format!("2 rust_safety {USER}:5:"),
        ),
        (
            Parts { subject: "rust: net: added a demo".into(), ..good.clone() },
            "1 subject message, line 1:".into(),
        ),
    ] {
        assert_eq!(found(&faulty.report()), [want]);
    }
    let stranger = Parts { signer: "Other <o@example.org>".into(), ..good };
    assert_eq!(found(&stranger.report()), ["1 verify_signedoff ", "2 verify_signedoff "]);
}
