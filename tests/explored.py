"""Questions to an explore page, and what it answers."""

from typing import Any


def ask(client: Any, name: str, **given: Any) -> Any:
    """Return the answer to a question, which must succeed."""
    response = client.get(f"/api/{name}", params=given)
    assert response.status_code == 200, response.text
    return response.json()


def refusal(client: Any, name: str, status: int = 400, **given: Any) -> str:
    """Return the message of a question that must be refused with this status."""
    response = client.get(f"/api/{name}", params=given)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error", "kind"}
    return str(response.json()["error"])


def ids(found: Any) -> list[str]:
    """Return the ids of a page of rows, in its order."""
    return [row["id"] for row in found["rows"]]
