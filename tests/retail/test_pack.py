"""The pack as text: every table and column is described, and what the files say of each other agrees."""

import pytest

from plain import LANDING, RETAIL, STREAMS, Feed, Pack, Plain, load_yaml

PACK = Pack()


@pytest.fixture(scope="module")
def plain():
    plain = Plain(PACK)
    plain.reference()
    plain.feed(Feed())
    return plain.run()


@pytest.mark.parametrize("name", sorted(PACK.models))
def test_described(plain, name):
    model = PACK.models[name]
    assert all(model.header.get(key) for key in ("kind", "description", "columns", "owner", "tags")), model.header
    columns = [row[0] for row in plain.db.execute(f"DESCRIBE {name}").fetchall()]
    assert [c for c in columns if not c.startswith("_")] == [c for c in model.header["columns"] if not c.startswith("_")]
    assert all(model.header["columns"].values())
    for key in ("key", "by", "state"):
        assert set(model.header.get(key) or []) <= set(columns), key
    assert model.header.get("time") in (None, *columns)


@pytest.mark.parametrize("name", sorted(PACK.models))
def test_no_floats(plain, name):
    for column, kind, *_ in plain.db.execute(f"DESCRIBE {name}").fetchall():
        assert not any(word in kind for word in ("DOUBLE", "FLOAT", "HUGEINT", "NULL")), (column, kind)


def test_kpi_columns_are_those_of_the_definitions(plain):
    wanted = {
        "sales.total_sales": "day, region, store_id, product_id, net_revenue, gross_revenue, discount, units, returns_units, returns_value, transactions",
        "sales.stock_availability": "product_id, warehouse_id, stock_level, stock_status, needs_restock, observed_at",
        "sales.stock_availability_rate": "product_id, pairs, in_stock, availability_pct",
        "sales.product_turnover": "product_id, day, units_sold_30d, avg_stock_30d, turnover_rate",
        "marketing.engagement": "day, total_events, engagement_events, engagement_score_pct",
        "marketing.customer_engagement": "user_id, day, total_events, engagement_events, engagement_score_pct",
        "marketing.sessions": "day, sessions, avg_duration_s, median_duration_s, bounce_rate_pct, unique_users, avg_path_depth, mobile_event_pct",
        "marketing.loyalty_activity": "day, loyalty_interactions, loyalty_customers, interactions, customers, loyalty_activity_rate_pct, avg_rating",
        "operations.inventory_turnover": "warehouse_id, category, day, cogs_30d, avg_inventory_value_30d, turnover, days_of_inventory",
        "operations.restock_frequency": "product_id, warehouse_id, restocks_30d, avg_days_between, last_restock_at",
        "operations.stockout_alerts": "product_id, warehouse_id, status, since, stock_level, restock_threshold, days_of_cover",
        "support.feedback_score": "day, channel, ratings, avg_rating, csat_pct",
        "support.interaction_volume": "day, interaction_type, channel, interactions, unique_customers",
        "support.time_to_resolution": "day, resolved, median_hours, p90_hours, avg_hours, open_backlog",
    }
    for name, columns in wanted.items():
        shown = [row[0] for row in plain.db.execute(f"DESCRIBE {name}").fetchall() if row[0] not in PACK.models[name].state]
        assert ", ".join(shown) == columns, name


def test_project_file_declares_what_models_read():
    config = load_yaml((RETAIL / "cupel.yaml").read_text())
    assert {s["table"].split(".")[1]: s["columns"] for s in config["sources"]} == LANDING
    assert set(STREAMS) | {m.header["emit"]["stream"] for m in PACK.models.values() if "emit" in m.header} == set(config["streams"])


def test_expectations_are_of_models():
    assert set(PACK.expectations) <= set(PACK.models)
    unchecked = {m.full for m in PACK.models.values() if m.kind == "stream"} - set(PACK.expectations)
    assert unchecked == {"silver.inventory_thresholds"}, "takes rows as they are, on purpose"
