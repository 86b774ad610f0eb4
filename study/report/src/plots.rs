// SPDX-License-Identifier: GPL-2.0

//! Bars: one group for each way.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use rnetns_study::results::Measurement;

use crate::data::{self, Question, Results};

/// One bar of each group.
struct Series<'a> {
    label: &'a str,
    traffic: &'a str,
    listener: &'a str,
}

const COLOURS: [RGBColor; 4] =
    [RGBColor(38, 84, 124), RGBColor(239, 71, 111), RGBColor(255, 183, 3), RGBColor(6, 150, 104)];

/// File name and picture of each.
pub fn all(results: &Results) -> Result<Vec<(String, String)>> {
    let by_traffic = |traffic: &'static [&'static str]| -> Vec<Series<'static>> {
        let series =
            |name: &&'static str| Series { label: name, traffic: name, listener: "nobody" };
        traffic.iter().map(series).collect()
    };
    let by_listener: Vec<Series> = ["nobody", "packet socket", "tcpdump"]
        .into_iter()
        .map(|listener| Series { label: listener, traffic: "udp-small", listener })
        .collect();
    let picture =
        |name: &str, title: &str, series: &[Series], value: &dyn Fn(&Measurement) -> f64| {
            bars(results, title, "out", series, value).map(|picture| (name.to_owned(), picture))
        };
    Ok(vec![
        picture(
            "copies.svg",
            "Copies for each packet out of the box, nobody listening",
            &by_traffic(&["udp-small", "tcp-segments", "tcp-gso", "tcp6-segments"]),
            &data::copies,
        )?,
        picture(
            "listeners.svg",
            "Copies for each small UDP packet out of the box, by who listens",
            &by_listener,
            &data::copies,
        )?,
        picture(
            "instructions.svg",
            "Instructions for each packet out of the box, system calls included",
            &by_traffic(&["udp-small", "udp-large", "tcp-segments"]),
            &|it: &Measurement| it.instructions,
        )?,
    ])
}

const SIZE: (u32, u32) = (1100, 460);

fn bars(
    results: &Results,
    title: &str,
    direction: &str,
    series: &[Series],
    value: &dyn Fn(&Measurement) -> f64,
) -> Result<String> {
    let ways: Vec<&str> = results.ways().collect();
    let get = |way: &str, one: &Series| {
        let question = Question { way, direction, traffic: one.traffic, listener: one.listener };
        results.find(question).map(value)
    };
    let all = ways.iter().flat_map(|way| series.iter().filter_map(|one| get(way, one)));
    // With room for the legend above the bars.
    let highest = all.fold(1.0, f64::max) * 1.4;
    let mut picture = String::new();
    let draw = |picture: &mut String| -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(picture, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 20))
            .margin(10)
            .x_label_area_size(120)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..ways.len() as f64, 0.0..highest)?;
        chart.configure_mesh().disable_x_mesh().x_labels(0).draw()?;
        // Those of the axis would begin in the middle of the bars.
        let end = Pos::new(HPos::Right, VPos::Center);
        let style =
            ("sans-serif", 13).into_font().transform(FontTransform::Rotate270).color(&BLACK);
        for (at, way) in ways.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(at as f64 + 0.5, 0.0));
            root.draw(&Text::new((*way).to_owned(), (x, y + 8), style.pos(end)))?;
        }
        let width = 0.8 / series.len() as f64;
        for (number, (one, colour)) in series.iter().zip(COLOURS).enumerate() {
            let bar = |(at, way): (usize, &&str)| {
                let left = at as f64 + 0.1 + number as f64 * width;
                let height = get(way, one)?;
                Some(Rectangle::new([(left, 0.0), (left + width, height)], colour.filled()))
            };
            chart.draw_series(ways.iter().enumerate().filter_map(bar))?.label(one.label).legend(
                move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()),
            );
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()?;
        root.present()?;
        Ok(())
    };
    draw(&mut picture).map_err(|error| anyhow!("draw `{title}`: {error}"))?;
    Ok(picture)
}
